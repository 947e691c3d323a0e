package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// world is all that the stand-in knows. The mutex guards everything below it.
type world struct {
	url      string
	load     workload
	arn      string
	label    string
	created  time.Time
	shardIDs []string
	shards   map[string]int
	dynamoDB string
	client   *http.Client
	handlers map[string]handler

	mould atomic.Pointer[template] // the last that was used

	mutex  sync.Mutex
	begun  time.Time // live records come from then on; zero: not yet
	ended  time.Time // and until then; zero: for ever
	tables map[string]*table
	queues map[string]int64 // messages taken
	counts
}

// handler answers one operation. It returns an error that the service would return, or nil.
type handler func(w *world, asked *request, answered *answer) error

// serviceError is a refusal of the service.
type serviceError struct {
	status  int
	kind    string // with its namespace
	message string
	members map[string]any
}

func (e *serviceError) Error() string { return e.kind + ": " + e.message }

func invalid(message string) error {
	return &serviceError{status: 400, kind: "com.amazon.coral.validate#ValidationException", message: message}
}

func notFound(message string) error {
	return &serviceError{status: 400, kind: "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", message: message}
}

func newWorld(url string, load workload, queues []string, dynamoDB string) *world {
	created := time.Now()
	w := &world{url: url, load: load, created: created, dynamoDB: dynamoDB, client: &http.Client{}}
	w.label = created.UTC().Format("2006-01-02T15:04:05.000")
	w.arn = "arn:aws:dynamodb:" + region + ":" + account + ":table/" + streamTable + "/stream/" + w.label
	w.shards = make(map[string]int, load.shards)
	for number := 0; number < load.shards; number++ {
		id := shardID(created, number)
		w.shardIDs = append(w.shardIDs, id)
		w.shards[id] = number
	}
	w.tables = map[string]*table{streamTable: newTable(keyAttribute)}
	w.queues = map[string]int64{}
	for _, name := range queues {
		w.queues[name] = 0
	}
	w.handlers = handlers()
	w.mould.Store(newTemplate(created.Unix(), load.imageBytes))
	w.reset()
	return w
}

// handlers by target.
func handlers() map[string]handler {
	all := map[string]handler{}
	for prefix, operations := range map[string]map[string]handler{
		"DynamoDBStreams_20120810.": streamOperations,
		"DynamoDB_20120810.":        tableOperations,
		"AmazonSQS.":                queueOperations,
	} {
		for name, operation := range operations {
			all[prefix+name] = operation
		}
	}
	return all
}

func (w *world) answer(asked *request, answered *answer) {
	if strings.HasPrefix(asked.path, "/control/") {
		w.control(asked, answered)
		return
	}
	service, operation, _ := strings.Cut(asked.target, ".")
	w.count(operation)
	answered.checked = service != "AmazonSQS"
	var err error
	if service == "DynamoDB_20120810" && w.dynamoDB != "" {
		err = w.forward(asked, answered)
	} else if handle, known := w.handlers[asked.target]; known {
		err = handle(w, asked, answered)
	} else {
		err = &serviceError{status: 400, kind: "com.amazon.coral.service#UnknownOperationException"}
	}
	if err != nil {
		refuse(answered, err)
	}
}

func refuse(answered *answer, err error) {
	refusal, isOne := err.(*serviceError)
	if !isOne {
		refusal = &serviceError{status: 500, kind: "com.amazon.coral.service#InternalFailure", message: err.Error()}
	}
	members := map[string]any{"__type": refusal.kind, "message": refusal.message}
	for name, member := range refusal.members {
		members[name] = member
	}
	answered.status = refusal.status
	answered.body = answered.body[:0]
	writeJSON(answered, members)
}

func writeJSON(answered *answer, members any) {
	text, err := json.Marshal(members)
	if err != nil {
		panic(err) // only values that JSON knows are ever given
	}
	answered.body = append(answered.body, text...)
}

func readJSON(asked *request, into any) error {
	if err := json.Unmarshal(asked.body, into); err != nil {
		return &serviceError{status: 400, kind: "com.amazon.coral.service#SerializationException", message: err.Error()}
	}
	return nil
}
