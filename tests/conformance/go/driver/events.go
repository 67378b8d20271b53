package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// checkpointer is what the in-memory and the file checkpointer have in common.
type checkpointer interface {
	client.Checkpoint
	checkpointEvent(*client.ChaincodeEvent) error
	checkpointBlock(uint64) error
}

type inMemory struct{ *client.InMemoryCheckpointer }

func (c inMemory) checkpointEvent(event *client.ChaincodeEvent) error {
	c.CheckpointChaincodeEvent(event)
	return nil
}

func (c inMemory) checkpointBlock(number uint64) error {
	c.CheckpointBlock(number)
	return nil
}

type inFile struct{ *client.FileCheckpointer }

func (c inFile) checkpointEvent(event *client.ChaincodeEvent) error {
	if err := c.CheckpointChaincodeEvent(event); err != nil {
		return err
	}
	return c.Sync()
}

func (c inFile) checkpointBlock(number uint64) error {
	if err := c.CheckpointBlock(number); err != nil {
		return err
	}
	return c.Sync()
}

// stream is an open stream: next answers the following event, its value and what to checkpoint.
type stream struct {
	items  <-chan item
	cancel context.CancelFunc
	at     checkpointer
	last   item
}

type item struct {
	said  answer
	event *client.ChaincodeEvent
	block uint64
}

func newCheckpointer(r *request) (checkpointer, error) {
	if r.File != "" {
		file, err := client.NewFileCheckpointer(r.File)
		return inFile{file}, err
	}
	memory := inMemory{new(client.InMemoryCheckpointer)}
	if r.After != nil {
		memory.CheckpointTransaction(r.After.Block, r.After.TxID)
	}
	return memory, nil
}

type signable interface {
	Bytes() ([]byte, error)
	Digest() []byte
}

func (d *driver) eventsRequest(r *request, at client.Checkpoint) (signable, error) {
	network := d.session(r).GetNetwork(r.Channel)
	signed := len(r.Signature) > 0
	switch r.Kind {
	case "chaincode":
		if signed {
			return d.session(r).NewSignedChaincodeEventsRequest(r.Request, r.Signature)
		}
		options := []client.ChaincodeEventsOption{client.WithCheckpoint(at)}
		if r.Start != nil {
			options = []client.ChaincodeEventsOption{
				client.WithStartBlock(*r.Start), client.WithCheckpoint(at),
			}
		}
		return network.NewChaincodeEventsRequest(r.Chaincode, options...)
	case "block", "filtered":
		options := []client.BlockEventsOption{client.WithCheckpoint(at)}
		if r.Start != nil {
			options = []client.BlockEventsOption{
				client.WithStartBlock(*r.Start), client.WithCheckpoint(at),
			}
		}
		switch {
		case signed && r.Kind == "block":
			return d.session(r).NewSignedBlockEventsRequest(r.Request, r.Signature)
		case signed:
			return d.session(r).NewSignedFilteredBlockEventsRequest(r.Request, r.Signature)
		case r.Kind == "block":
			return network.NewBlockEventsRequest(options...)
		}
		return network.NewFilteredBlockEventsRequest(options...)
	}
	return nil, fmt.Errorf("no events of kind %q", r.Kind)
}

func (d *driver) requestEvents(r *request) (answer, error) {
	at, err := newCheckpointer(r)
	if err != nil {
		return nil, err
	}
	made, err := d.eventsRequest(r, at)
	if err != nil {
		return nil, err
	}
	raw, err := made.Bytes()
	return answer{"request": raw, "digest": made.Digest()}, err
}

func (d *driver) openEvents(r *request) (answer, error) {
	at, err := newCheckpointer(r)
	if err != nil {
		return nil, err
	}
	made, err := d.eventsRequest(r, at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	items, err := events(ctx, made)
	if err != nil {
		cancel()
		return nil, err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	name := fmt.Sprintf("stream%d", len(d.streams))
	d.streams[name] = &stream{items: items, cancel: cancel, at: at}
	return answer{"stream": name}, nil
}

func events(ctx context.Context, made signable) (<-chan item, error) {
	switch made := made.(type) {
	case *client.ChaincodeEventsRequest:
		found, err := made.Events(ctx)
		return convert(found, chaincodeEvent), err
	case *client.BlockEventsRequest:
		found, err := made.Events(ctx)
		return convert(found, fullBlock), err
	case *client.FilteredBlockEventsRequest:
		found, err := made.Events(ctx)
		return convert(found, filteredBlock), err
	}
	return nil, fmt.Errorf("no events of %T", made)
}

func convert[T any](source <-chan T, read func(T) item) <-chan item {
	items := make(chan item)
	go func() {
		defer close(items)
		for value := range source {
			items <- read(value)
		}
	}()
	return items
}

func chaincodeEvent(event *client.ChaincodeEvent) item {
	return item{event: event, said: answer{
		"block":     event.BlockNumber,
		"tx_id":     event.TransactionID,
		"chaincode": event.ChaincodeName,
		"name":      event.EventName,
		"payload":   present(event.Payload),
	}}
}

func fullBlock(block *common.Block) item {
	raw, err := proto.Marshal(block)
	if err != nil {
		panic(err)
	}
	number := block.GetHeader().GetNumber()
	return item{block: number, said: answer{"block": number, "raw": raw}}
}

func filteredBlock(block *peer.FilteredBlock) item {
	transactions := [][]any{}
	for _, transaction := range block.GetFilteredTransactions() {
		names := []string{}
		for _, action := range transaction.GetTransactionActions().GetChaincodeActions() {
			if name := action.GetChaincodeEvent().GetEventName(); name != "" {
				names = append(names, name)
			}
		}
		transactions = append(transactions, []any{
			transaction.GetTxid(), transaction.GetTxValidationCode(), names,
		})
	}
	return item{block: block.GetNumber(), said: answer{
		"block":        block.GetNumber(),
		"channel":      block.GetChannelId(),
		"transactions": transactions,
	}}
}

func (d *driver) stream(r *request) *stream {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.streams[r.Stream]
}

func (d *driver) nextEvent(r *request) (answer, error) {
	s := d.stream(r)
	select {
	case found, open := <-s.items:
		if !open {
			return answer{"end": true}, nil
		}
		s.last = found
		return answer{"event": found.said}, nil
	case <-time.After(seconds(r.Timeout)):
		return answer{"timeout": true}, nil
	}
}

func (d *driver) checkpoint(r *request) (answer, error) {
	s := d.stream(r)
	if s.last.event != nil {
		return answer{}, s.at.checkpointEvent(s.last.event)
	}
	return answer{}, s.at.checkpointBlock(s.last.block)
}

func (d *driver) closeEvents(r *request) (answer, error) {
	s := d.stream(r)
	s.cancel()
	go func() {
		for range s.items { //nolint:revive // lets the client's own goroutine end
		}
	}()
	if file, ok := s.at.(inFile); ok {
		return answer{}, file.Close()
	}
	return answer{}, nil
}
