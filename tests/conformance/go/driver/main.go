// The official Go client behind JSON lines: one request a line on standard input, one answer a
// line on standard output, in whatever order they are done. The operations are described in
// ../../conformance_clients.py; bytes are Base64.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc/status"
)

type request struct {
	ID            int               `json:"id"`
	Op            string            `json:"op"`
	Session       string            `json:"session"`
	Identity      identityFiles     `json:"identity"`
	Peer          peerAddress       `json:"peer"`
	TLS           tlsFiles          `json:"tls"`
	Channel       string            `json:"channel"`
	Chaincode     string            `json:"chaincode"`
	Args          []string          `json:"args"`
	Transient     map[string][]byte `json:"transient"`
	Organizations []string          `json:"organizations"`
	Deadline      float64           `json:"deadline"`
	Bytes         []byte            `json:"bytes"`
	Signature     []byte            `json:"signature"`
	Kind          string            `json:"kind"`
	Request       []byte            `json:"request"`
	Start         *uint64           `json:"start"`
	After         *position         `json:"after"`
	File          string            `json:"file"`
	Stream        string            `json:"stream"`
	Timeout       float64           `json:"timeout"`
}

type position struct {
	Block uint64 `json:"block"`
	TxID  string `json:"tx_id"`
}

type answer map[string]any

type driver struct {
	mutex    sync.Mutex
	sessions map[string]*client.Gateway
	streams  map[string]*stream
}

func main() {
	d := &driver{sessions: map[string]*client.Gateway{}, streams: map[string]*stream{}}
	operations := map[string]func(*request) (answer, error){
		"connect":        d.connect,
		"propose":        d.propose,
		"evaluate":       d.evaluate,
		"transact":       d.transact,
		"endorse":        d.endorse,
		"submit":         d.submit,
		"status":         d.status,
		"request_events": d.requestEvents,
		"open_events":    d.openEvents,
		"next_event":     d.nextEvent,
		"checkpoint":     d.checkpoint,
		"close_events":   d.closeEvents,
	}
	var writing sync.Mutex
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		var asked request
		if err == nil {
			err = json.Unmarshal(line, &asked)
		}
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			said := map[string]any{"id": asked.ID}
			if found, err := operations[asked.Op](&asked); err != nil {
				said["error"] = failure(err)
			} else {
				said["answer"] = found
			}
			raw, err := json.Marshal(said)
			if err != nil {
				log.Fatal(err)
			}
			writing.Lock()
			defer writing.Unlock()
			if _, err := os.Stdout.Write(append(raw, '\n')); err != nil {
				log.Fatal(err)
			}
		}()
	}
}

func (d *driver) session(r *request) *client.Gateway {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.sessions[r.Session]
}

func (r *request) context() (context.Context, context.CancelFunc) {
	if r.Deadline == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), seconds(r.Deadline))
}

func seconds(count float64) time.Duration { return time.Duration(count * float64(time.Second)) }

func failure(err error) answer {
	said := answer{"type": "Error", "message": err.Error(), "grpc": -1, "code": -1, "tx_id": ""}
	details := []answer{}
	var transactionError *client.TransactionError
	if errors.As(err, &transactionError) {
		said["tx_id"] = transactionError.TransactionID
	}
	if found, ok := status.FromError(err); ok {
		said["grpc"] = found.Code()
		// Evaluate answers the gRPC error itself, the others one of the client's types around it.
		for _, detail := range found.Details() {
			if detail, ok := detail.(*gateway.ErrorDetail); ok {
				details = append(details, answer{
					"address": detail.GetAddress(),
					"msp_id":  detail.GetMspId(),
					"message": detail.GetMessage(),
				})
			}
		}
	}
	said["details"] = details
	var endorseError *client.EndorseError
	var submitError *client.SubmitError
	var statusError *client.CommitStatusError
	var commitError *client.CommitError
	switch {
	case errors.As(err, &endorseError):
		said["type"] = "EndorseError"
	case errors.As(err, &submitError):
		said["type"] = "SubmitError"
	case errors.As(err, &statusError):
		said["type"] = "CommitStatusError"
	case errors.As(err, &commitError):
		said["type"] = "CommitError"
		said["code"] = commitError.Code
		said["tx_id"] = commitError.TransactionID
	case transactionError != nil:
		said["type"] = "TransactionError"
	}
	return said
}
