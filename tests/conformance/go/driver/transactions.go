package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math"
	"os"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

type identityFiles struct {
	MspID       string `json:"msp_id"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

type peerAddress struct {
	Endpoint   string `json:"endpoint"`
	ServerName string `json:"server_name"`
	TLSCA      string `json:"tls_ca"`
}

type tlsFiles struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// foreign is an identity as its files say, also one that NewX509Identity would not make.
type foreign struct {
	mspID string
	pem   []byte
}

func (f foreign) MspID() string       { return f.mspID }
func (f foreign) Credentials() []byte { return f.pem }

func (d *driver) connect(r *request) (answer, error) {
	certificate, err := os.ReadFile(r.Identity.Certificate)
	if err != nil {
		return nil, err
	}
	connection, hash, err := dial(r)
	if err != nil {
		return nil, err
	}
	options := []client.ConnectOption{
		client.WithClientConnection(connection),
		client.WithTLSClientCertificateHash(hash),
	}
	if r.Identity.Key != "" {
		sign, err := signer(r.Identity.Key)
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithSign(sign))
	}
	gateway, err := client.Connect(foreign{r.Identity.MspID, certificate}, options...)
	if err != nil {
		return nil, err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.sessions[r.Session] = gateway
	return answer{}, nil
}

func signer(path string) (identity.Sign, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := identity.PrivateKeyFromPEM(raw)
	if err != nil {
		return nil, err
	}
	return identity.NewPrivateKeySign(key)
}

func dial(r *request) (*grpc.ClientConn, []byte, error) {
	roots, err := os.ReadFile(r.Peer.TLSCA)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, nil, errors.New("no TLS CA certificate")
	}
	pair, err := tls.LoadX509KeyPair(r.TLS.Certificate, r.TLS.Key)
	if err != nil {
		return nil, nil, err
	}
	raw, err := os.ReadFile(r.TLS.Certificate)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(raw)
	hash := sha256.Sum256(block.Bytes)
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ServerName:   r.Peer.ServerName,
		MinVersion:   tls.VersionTLS12,
	}
	connection, err := grpc.NewClient(
		r.Peer.Endpoint,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32),
		),
	)
	return connection, hash[:], err
}

func (r *request) options() []client.ProposalOption {
	options := []client.ProposalOption{client.WithArguments(r.Args[1:]...)}
	if len(r.Transient) > 0 {
		options = append(options, client.WithTransient(r.Transient))
	}
	if len(r.Organizations) > 0 {
		options = append(options, client.WithEndorsingOrganizations(r.Organizations...))
	}
	return options
}

func (d *driver) contract(r *request) *client.Contract {
	return d.session(r).GetNetwork(r.Channel).GetContract(r.Chaincode)
}

func (d *driver) proposal(r *request) (*client.Proposal, error) {
	switch {
	case len(r.Signature) > 0:
		return d.session(r).NewSignedProposal(r.Bytes, r.Signature)
	case len(r.Bytes) > 0:
		return d.session(r).NewProposal(r.Bytes)
	}
	return d.contract(r).NewProposal(r.Args[0], r.options()...)
}

type preparable interface {
	Bytes() ([]byte, error)
	Digest() []byte
	TransactionID() string
}

func prepared(made preparable) (answer, error) {
	raw, err := made.Bytes()
	return answer{"bytes": raw, "digest": made.Digest(), "tx_id": made.TransactionID()}, err
}

func (d *driver) propose(r *request) (answer, error) {
	proposal, err := d.proposal(r)
	if err != nil {
		return nil, err
	}
	return prepared(proposal)
}

func (d *driver) evaluate(r *request) (answer, error) {
	proposal, err := d.proposal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.context()
	defer cancel()
	result, err := proposal.EvaluateWithContext(ctx)
	return answer{"result": present(result)}, err
}

func (d *driver) transact(r *request) (answer, error) {
	result, err := d.contract(r).Submit(r.Args[0], r.options()...)
	return answer{"result": present(result)}, err
}

func (d *driver) endorse(r *request) (answer, error) {
	proposal, err := d.proposal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.context()
	defer cancel()
	transaction, err := proposal.EndorseWithContext(ctx)
	if err != nil {
		return nil, err
	}
	said, err := prepared(transaction)
	said["result"] = present(transaction.Result())
	return said, err
}

func (d *driver) submit(r *request) (answer, error) {
	transaction, err := d.session(r).NewTransaction(r.Bytes)
	if len(r.Signature) > 0 {
		transaction, err = d.session(r).NewSignedTransaction(r.Bytes, r.Signature)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.context()
	defer cancel()
	commit, err := transaction.SubmitWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return prepared(commit)
}

func (d *driver) status(r *request) (answer, error) {
	commit, err := d.session(r).NewCommit(r.Bytes)
	if len(r.Signature) > 0 {
		commit, err = d.session(r).NewSignedCommit(r.Bytes, r.Signature)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.context()
	defer cancel()
	found, err := commit.StatusWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return answer{
		"code": found.Code, "block": found.BlockNumber, "tx_id": found.TransactionID,
	}, nil
}

// present is never nil, which JSON would write as null.
func present(result []byte) []byte { return append([]byte{}, result...) }
