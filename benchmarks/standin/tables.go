package main

import (
	"bytes"
	"io"
	"net/http"
	"sort"
	"time"
)

// The part of DynamoDB that a lease table needs; or, for those who need more of it, the way to a real one.

type item map[string]map[string]any

// table is one with a hash key of type S. Operations on items are short: they hold the world's mutex.
type table struct {
	key     string
	created time.Time
	items   map[string]item
}

const pageItemsMax = 1000

func newTable(key string) *table {
	return &table{key: key, created: time.Now(), items: map[string]item{}}
}

var tableOperations = map[string]handler{
	"CreateTable":   onTables(createTable),
	"DescribeTable": onTables(describeTable),
	"GetItem":       onTables(getItem),
	"PutItem":       onTables(putItem),
	"UpdateItem":    onTables(updateItem),
	"DeleteItem":    onTables(deleteItem),
	"Scan":          onTables(scan),
}

// leaseWrites are counted apart.
var leaseWrites = []string{"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}

// tableRequest holds the parameters of every operation here.
type tableRequest struct {
	TableName                           string
	KeySchema                           []struct{ AttributeName, KeyType string }
	Key, Item                           item
	ExclusiveStartKey                   item
	Limit                               int
	UpdateExpression                    string
	ConditionExpression                 string
	FilterExpression                    string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           item
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
}

func onTables(operation func(*world, *tableRequest) (any, error)) handler {
	return func(w *world, asked *request, answered *answer) error {
		var question tableRequest
		if err := readJSON(asked, &question); err != nil {
			return err
		}
		w.mutex.Lock()
		members, err := operation(w, &question)
		w.mutex.Unlock()
		if err == nil {
			writeJSON(answered, members)
		}
		return err
	}
}

func (w *world) table(name string) (*table, error) {
	if found := w.tables[name]; found != nil {
		return found, nil
	}
	return nil, notFound("Requested resource not found: Table: " + name + " not found")
}

func createTable(w *world, question *tableRequest) (any, error) {
	if w.tables[question.TableName] != nil {
		kind := "com.amazonaws.dynamodb.v20120810#ResourceInUseException"
		return nil, &serviceError{status: 400, kind: kind, message: "Table already exists: " + question.TableName}
	}
	if len(question.KeySchema) != 1 {
		return nil, invalid("The stand-in knows tables with a hash key and no range key")
	}
	w.tables[question.TableName] = newTable(question.KeySchema[0].AttributeName)
	return map[string]any{"TableDescription": w.describe(question.TableName)}, nil
}

func describeTable(w *world, question *tableRequest) (any, error) {
	if _, err := w.table(question.TableName); err != nil {
		return nil, err
	}
	return map[string]any{"Table": w.describe(question.TableName)}, nil
}

func (w *world) describe(name string) map[string]any {
	known := w.tables[name]
	described := map[string]any{
		"TableName": name, "TableArn": "arn:aws:dynamodb:" + region + ":" + account + ":table/" + name,
		"TableStatus": "ACTIVE", "ItemCount": len(known.items), "TableSizeBytes": 0,
		"KeySchema":            []any{map[string]string{"AttributeName": known.key, "KeyType": "HASH"}},
		"AttributeDefinitions": []any{map[string]string{"AttributeName": known.key, "AttributeType": "S"}},
		"BillingModeSummary":   map[string]string{"BillingMode": "PAY_PER_REQUEST"},
		"CreationDateTime":     float64(known.created.UnixMilli()) / 1000,
	}
	if name == streamTable {
		described["LatestStreamArn"], described["LatestStreamLabel"] = w.arn, w.label
		described["StreamSpecification"] = map[string]any{"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"}
	}
	return described
}

func (t *table) keyOf(attributes item) (string, error) {
	if text, isText := attributes[t.key]["S"].(string); isText {
		return text, nil
	}
	return "", invalid("One of the required keys was not given a value")
}

func getItem(w *world, question *tableRequest) (any, error) {
	found, err := w.table(question.TableName)
	if err != nil {
		return nil, err
	}
	key, err := found.keyOf(question.Key)
	if err != nil {
		return nil, err
	}
	if one, there := found.items[key]; there {
		return map[string]any{"Item": one}, nil
	}
	return map[string]any{}, nil
}

func putItem(w *world, question *tableRequest) (any, error) {
	return w.write(question, question.Item, func(*expressions, item) (item, error) { return question.Item, nil })
}

func deleteItem(w *world, question *tableRequest) (any, error) {
	return w.write(question, question.Key, func(*expressions, item) (item, error) { return nil, nil })
}

func updateItem(w *world, question *tableRequest) (any, error) {
	return w.write(question, question.Key, func(with *expressions, old item) (item, error) {
		made := item{}
		for name, value := range question.Key {
			made[name] = value
		}
		for name, value := range old {
			made[name] = value
		}
		return made, with.update(question.UpdateExpression, old, made)
	})
}

// write replaces an item, under its condition, by what `change` makes of it; nil deletes it.
func (w *world) write(question *tableRequest, keys item, change func(*expressions, item) (item, error)) (any, error) {
	found, err := w.table(question.TableName)
	if err != nil {
		return nil, err
	}
	key, err := found.keyOf(keys)
	if err != nil {
		return nil, err
	}
	with := &expressions{names: question.ExpressionAttributeNames, values: question.ExpressionAttributeValues}
	old := found.items[key]
	holds, err := with.condition(question.ConditionExpression, old)
	if err != nil {
		return nil, err
	}
	if !holds {
		return nil, conditionFailed(question, old)
	}
	made, err := change(with, old)
	if err != nil {
		return nil, err
	}
	if made == nil {
		delete(found.items, key)
	} else {
		found.items[key] = made
	}
	switch {
	case question.ReturnValues == "ALL_NEW":
		return map[string]any{"Attributes": made}, nil
	case question.ReturnValues == "ALL_OLD" && old != nil:
		return map[string]any{"Attributes": old}, nil
	}
	return map[string]any{}, nil
}

func conditionFailed(question *tableRequest, old item) error {
	failed := &serviceError{
		status: 400, kind: "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
		message: "The conditional request failed",
	}
	if old != nil && question.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
		failed.members = map[string]any{"Item": old}
	}
	return failed
}

func scan(w *world, question *tableRequest) (any, error) {
	found, err := w.table(question.TableName)
	if err != nil {
		return nil, err
	}
	after, _ := question.ExclusiveStartKey[found.key]["S"].(string)
	keys := make([]string, 0, len(found.items))
	for key := range found.items {
		if key > after {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	size := pageItemsMax
	if question.Limit > 0 && question.Limit < size {
		size = question.Limit
	}
	more := len(keys) > size
	if more {
		keys = keys[:size]
	}
	with := &expressions{names: question.ExpressionAttributeNames, values: question.ExpressionAttributeValues}
	items := make([]item, 0, len(keys))
	for _, key := range keys {
		wanted, err := with.condition(question.FilterExpression, found.items[key])
		if err != nil {
			return nil, err
		}
		if wanted {
			items = append(items, found.items[key])
		}
	}
	page := map[string]any{"Items": items, "Count": len(items), "ScannedCount": len(keys)}
	if more {
		page["LastEvaluatedKey"] = item{found.key: {"S": keys[len(keys)-1]}}
	}
	return page, nil
}

// forward hands a request to the DynamoDB that keeps the lease tables.
func (w *world) forward(asked *request, answered *answer) error {
	passed, err := http.NewRequest(http.MethodPost, w.dynamoDB, bytes.NewReader(asked.body))
	if err != nil {
		return err
	}
	for _, name := range []string{"authorization", "content-type", "x-amz-date", "x-amz-target"} {
		passed.Header.Set(name, asked.header[name])
	}
	returned, err := w.client.Do(passed)
	if err != nil {
		return err
	}
	defer returned.Body.Close()
	body, err := io.ReadAll(returned.Body)
	answered.status = returned.StatusCode
	answered.body = append(answered.body, body...)
	return err
}
