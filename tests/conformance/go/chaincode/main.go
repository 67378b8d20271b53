// The suite's chaincode on the official Go shim. Its functions are described in
// ../../chaincode_py/contract.py. Started as `chaincode settings.json`.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/pkg/cid"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

type settings struct {
	ChaincodeID  string `json:"chaincode_id"`
	Listen       string `json:"listen"`
	Certificate  string `json:"certificate"`
	Key          string `json:"key"`
	ClientCA     string `json:"client_ca"`
	Organization string `json:"organization"`
}

type conformance struct {
	organization string
}

type stub = shim.ChaincodeStubInterface

var ok = []byte("ok")

func (c *conformance) Init(stub) *peer.Response { return shim.Success(nil) }

func (c *conformance) Invoke(s stub) *peer.Response {
	function, args := s.GetFunctionAndParameters()
	if function == "status" {
		status, err := strconv.Atoi(args[0])
		if err == nil {
			err = s.PutState("status", []byte(args[1]))
		}
		if err != nil {
			return shim.Error(err.Error())
		}
		return &peer.Response{Status: int32(status), Message: args[1], Payload: []byte("payload")}
	}
	called, found := functions[function]
	if !found {
		return shim.Error("no such function: " + function)
	}
	payload, err := called(c, s, args)
	if err != nil {
		return shim.Error(err.Error())
	}
	return shim.Success(payload)
}

var functions = map[string]func(*conformance, stub, []string) ([]byte, error){
	"get":             func(_ *conformance, s stub, a []string) ([]byte, error) { return s.GetState(a[0]) },
	"put":             func(_ *conformance, s stub, a []string) ([]byte, error) { return ok, s.PutState(a[0], []byte(a[1])) },
	"delete":          func(_ *conformance, s stub, a []string) ([]byte, error) { return ok, s.DelState(a[0]) },
	"putThenGet":      putThenGet,
	"add":             add,
	"fill":            fill,
	"range":           valueRange,
	"countInto":       countInto,
	"page":            page,
	"pageThenPut":     pageThenPut,
	"compositePut":    compositePut,
	"compositeRange":  compositeRange,
	"history":         history,
	"event":           func(_ *conformance, s stub, a []string) ([]byte, error) { return ok, s.SetEvent(a[0], []byte(a[1])) },
	"lock":            lock,
	"locked":          locked,
	"fail":            func(_ *conformance, _ stub, a []string) ([]byte, error) { return nil, errors.New(a[0]) },
	"failAt":          failAt,
	"organization":    func(c *conformance, _ stub, _ []string) ([]byte, error) { return []byte(c.organization), nil },
	"sleep":           sleep,
	"putSecretDigest": putSecretDigest,
	"whoami":          whoami,
	"transaction":     transaction,
	"richQuery":       richQuery,
	"getMany":         getMany,
	"putBatch":        putBatch,
}

func putThenGet(_ *conformance, s stub, a []string) ([]byte, error) {
	if err := s.PutState(a[0], []byte(a[1])); err != nil {
		return nil, err
	}
	return s.GetState(a[0])
}

func add(_ *conformance, s stub, a []string) ([]byte, error) {
	before, err := s.GetState(a[0])
	if err != nil {
		return nil, err
	}
	sum, err := strconv.Atoi(a[1])
	if err != nil {
		return nil, err
	}
	if len(before) > 0 {
		old, err := strconv.Atoi(string(before))
		if err != nil {
			return nil, err
		}
		sum += old
	}
	if err := s.SetEvent("added", []byte(a[0])); err != nil {
		return nil, err
	}
	after := []byte(strconv.Itoa(sum))
	return after, s.PutState(a[0], after)
}

func fill(_ *conformance, s stub, a []string) ([]byte, error) {
	count, err := strconv.Atoi(a[1])
	if err != nil {
		return nil, err
	}
	for index := range count {
		number := fmt.Sprintf("%04d", index)
		if err := s.PutState(a[0]+number, []byte(number)); err != nil {
			return nil, err
		}
	}
	return []byte(a[1]), nil
}

func pairs(iterator shim.StateQueryIteratorInterface) ([][2]string, error) {
	defer func() { _ = iterator.Close() }()
	found := [][2]string{}
	for iterator.HasNext() {
		entry, err := iterator.Next()
		if err != nil {
			return nil, err
		}
		found = append(found, [2]string{entry.GetKey(), string(entry.GetValue())})
	}
	return found, nil
}

func valueRange(_ *conformance, s stub, a []string) ([]byte, error) {
	iterator, err := s.GetStateByRange(a[0], a[1])
	if err != nil {
		return nil, err
	}
	found, err := pairs(iterator)
	if err != nil {
		return nil, err
	}
	return json.Marshal(found)
}

func countInto(_ *conformance, s stub, a []string) ([]byte, error) {
	iterator, err := s.GetStateByRange(a[0], a[1])
	if err != nil {
		return nil, err
	}
	found, err := pairs(iterator)
	if err != nil {
		return nil, err
	}
	count := []byte(strconv.Itoa(len(found)))
	return count, s.PutState(a[2], count)
}

type onePage struct {
	Items    []string `json:"items"`
	Bookmark string   `json:"bookmark"`
}

func page(_ *conformance, s stub, a []string) ([]byte, error) {
	size, err := strconv.ParseInt(a[2], 10, 32)
	if err != nil {
		return nil, err
	}
	iterator, metadata, err := s.GetStateByRangeWithPagination(a[0], a[1], int32(size), a[3])
	if err != nil {
		return nil, err
	}
	found, err := pairs(iterator)
	if err != nil {
		return nil, err
	}
	answer := onePage{Items: []string{}, Bookmark: metadata.GetBookmark()}
	for _, pair := range found {
		answer.Items = append(answer.Items, pair[0])
	}
	return json.Marshal(answer)
}

func pageThenPut(c *conformance, s stub, a []string) ([]byte, error) {
	if _, err := page(c, s, []string{a[0], a[1], "2", ""}); err != nil {
		return nil, err
	}
	return ok, s.PutState(a[2], []byte("late"))
}

func compositePut(_ *conformance, s stub, a []string) ([]byte, error) {
	var parts []string
	if err := json.Unmarshal([]byte(a[1]), &parts); err != nil {
		return nil, err
	}
	key, err := s.CreateCompositeKey(a[0], parts)
	if err != nil {
		return nil, err
	}
	return ok, s.PutState(key, []byte(a[2]))
}

func compositeRange(_ *conformance, s stub, a []string) ([]byte, error) {
	var parts []string
	if err := json.Unmarshal([]byte(a[1]), &parts); err != nil {
		return nil, err
	}
	iterator, err := s.GetStateByPartialCompositeKey(a[0], parts)
	if err != nil {
		return nil, err
	}
	entries, err := pairs(iterator)
	if err != nil {
		return nil, err
	}
	found := []any{}
	for _, entry := range entries {
		kind, attributes, err := s.SplitCompositeKey(entry[0])
		if err != nil {
			return nil, err
		}
		found = append(found, []any{kind, attributes, entry[1]})
	}
	return json.Marshal(found)
}

func history(_ *conformance, s stub, a []string) ([]byte, error) {
	iterator, err := s.GetHistoryForKey(a[0])
	if err != nil {
		return nil, err
	}
	defer func() { _ = iterator.Close() }()
	found := []any{}
	for iterator.HasNext() {
		entry, err := iterator.Next()
		if err != nil {
			return nil, err
		}
		found = append(found, []any{entry.GetTxId(), string(entry.GetValue()), entry.GetIsDelete()})
	}
	return json.Marshal(found)
}

func lock(_ *conformance, s stub, a []string) ([]byte, error) {
	policy, err := base64.StdEncoding.DecodeString(a[1])
	if err != nil {
		return nil, err
	}
	return ok, s.SetStateValidationParameter(a[0], policy)
}

func locked(_ *conformance, s stub, a []string) ([]byte, error) {
	policy, err := s.GetStateValidationParameter(a[0])
	return []byte(base64.StdEncoding.EncodeToString(policy)), err
}

func failAt(c *conformance, _ stub, a []string) ([]byte, error) {
	if a[0] == c.organization {
		return nil, fmt.Errorf("refused by %s", a[0])
	}
	return ok, nil
}

func sleep(_ *conformance, _ stub, a []string) ([]byte, error) {
	milliseconds, err := strconv.Atoi(a[0])
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	return ok, err
}

func putSecretDigest(_ *conformance, s stub, a []string) ([]byte, error) {
	transient, err := s.GetTransient()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(transient["secret"])
	return ok, s.PutState(a[0], []byte(hex.EncodeToString(digest[:])))
}

func whoami(_ *conformance, s stub, _ []string) ([]byte, error) {
	msp, err := cid.GetMSPID(s)
	if err != nil {
		return nil, err
	}
	role, found, err := cid.GetAttributeValue(s, "clearline.role")
	if err != nil {
		return nil, err
	}
	if !found {
		return json.Marshal([]any{msp, nil})
	}
	return json.Marshal([]string{msp, role})
}

func transaction(_ *conformance, s stub, _ []string) ([]byte, error) {
	return json.Marshal([]any{s.GetChannelID(), s.GetTxID(), s.GetArgs()})
}

func richQuery(_ *conformance, s stub, _ []string) ([]byte, error) {
	iterator, err := s.GetQueryResult(`{"selector":{}}`)
	if err != nil {
		return nil, err
	}
	found, err := pairs(iterator)
	if err != nil {
		return nil, err
	}
	return json.Marshal(found)
}

func getMany(_ *conformance, s stub, a []string) ([]byte, error) {
	values, err := s.GetMultipleStates(a...)
	if err != nil {
		return nil, err
	}
	found := []string{}
	for _, value := range values {
		found = append(found, string(value))
	}
	return json.Marshal(found)
}

func putBatch(_ *conformance, s stub, a []string) ([]byte, error) {
	s.StartWriteBatch()
	for _, key := range a {
		if err := s.PutState(key, []byte(key)); err != nil {
			return nil, err
		}
	}
	return ok, s.FinishWriteBatch()
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: chaincode settings.json")
	}
	raw := read(os.Args[1])
	var with settings
	if err := json.Unmarshal(raw, &with); err != nil {
		log.Fatal(err)
	}
	server := &shim.ChaincodeServer{
		CCID:    with.ChaincodeID,
		Address: with.Listen,
		CC:      &conformance{organization: with.Organization},
		TLSProps: shim.TLSProperties{
			Key:           read(with.Key),
			Cert:          read(with.Certificate),
			ClientCACerts: read(with.ClientCA),
		},
	}
	log.Fatal(server.Start())
}

func read(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return content
}
