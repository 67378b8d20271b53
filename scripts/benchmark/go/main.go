// Command chaincode is benchmark/payments_chaincode.py in Go, on Fabric's own shim.
//
// "Pay" takes a JSON list of {"key", "value"}: one read of all keys, a refusal for each that is
// there already, one batch of writes, a JSON list of outcomes.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

type settings struct {
	ChaincodeID string `json:"chaincode_id"`
	Listen      string `json:"listen"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	ClientCA    string `json:"client_ca"`
}

type payment struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type outcome struct {
	Code string `json:"code"`
}

type payments struct{}

func (payments) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

func (payments) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	args := stub.GetArgs()
	if len(args) != 2 || string(args[0]) != "Pay" {
		return shim.Error("the only function is Pay, with one argument")
	}
	var items []payment
	if err := json.Unmarshal(args[1], &items); err != nil {
		return shim.Error(err.Error())
	}
	answer, err := pay(stub, items)
	if err != nil {
		return shim.Error(err.Error())
	}
	return shim.Success(answer)
}

func pay(stub shim.ChaincodeStubInterface, items []payment) ([]byte, error) {
	keys := make([]string, len(items))
	for at, item := range items {
		keys[at] = item.Key
	}
	before, err := stub.GetMultipleStates(keys...)
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(items))
	stub.StartWriteBatch()
	for at, item := range items {
		if len(before[at]) > 0 {
			outcomes[at].Code = "duplicate"
			continue
		}
		if err := stub.PutState(item.Key, []byte(item.Value)); err != nil {
			return nil, err
		}
		outcomes[at].Code = "ok"
	}
	if err := stub.FinishWriteBatch(); err != nil {
		return nil, err
	}
	return json.Marshal(outcomes)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: chaincode settings.json")
	}
	var with settings
	if err := json.Unmarshal(read(os.Args[1]), &with); err != nil {
		log.Fatal(err)
	}
	server := &shim.ChaincodeServer{
		CCID:    with.ChaincodeID,
		Address: with.Listen,
		CC:      payments{},
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
