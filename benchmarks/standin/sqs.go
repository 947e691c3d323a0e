package main

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"sort"
	"strconv"
	"strings"
	"time"
)

// SQS in its JSON protocol: queues that check, count and forget.

const (
	entriesMax    = 10
	batchBytesMax = 1 << 20
)

var queueOperations = map[string]handler{
	"GetQueueUrl":        getQueueURL,
	"GetQueueAttributes": getQueueAttributes,
	"SendMessageBatch":   sendMessageBatch,
}

func queueError(answered *answer, status int, kind, queryCode, message string) error {
	fault := "Sender"
	if status >= 500 {
		fault = "Receiver"
	}
	answered.errorTag = queryCode + ";" + fault
	return &serviceError{status: status, kind: kind, message: message}
}

func (w *world) knownQueue(answered *answer, name string) error {
	w.mutex.Lock()
	_, known := w.queues[name]
	w.mutex.Unlock()
	if known {
		return nil
	}
	return queueError(answered, 400, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue",
		"The specified queue does not exist.")
}

func getQueueURL(w *world, asked *request, answered *answer) error {
	var question struct{ QueueName string }
	if err := readJSON(asked, &question); err != nil {
		return err
	}
	if err := w.knownQueue(answered, question.QueueName); err != nil {
		return err
	}
	writeJSON(answered, map[string]string{"QueueUrl": w.url + "/" + account + "/" + question.QueueName})
	return nil
}

func getQueueAttributes(w *world, asked *request, answered *answer) error {
	var question struct {
		QueueURL       string `json:"QueueUrl"`
		AttributeNames []string
	}
	if err := readJSON(asked, &question); err != nil {
		return err
	}
	name := nameOf(question.QueueURL)
	if err := w.knownQueue(answered, name); err != nil {
		return err
	}
	known := map[string]string{
		"QueueArn":           "arn:aws:sqs:" + region + ":" + account + ":" + name,
		"MaximumMessageSize": strconv.Itoa(batchBytesMax), "VisibilityTimeout": "30",
		"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0", "ApproximateNumberOfMessagesDelayed": "0",
	}
	attributes := map[string]string{}
	for _, wanted := range question.AttributeNames {
		for name, value := range known {
			if wanted == "All" || wanted == name {
				attributes[name] = value
			}
		}
	}
	writeJSON(answered, map[string]any{"Attributes": attributes})
	return nil
}

func nameOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// entry is one message of a batch, its texts unescaped.
type entry struct {
	id, body   []byte
	attributes map[string]attribute
}

type attribute struct{ DataType, StringValue string }

func sendMessageBatch(w *world, asked *request, answered *answer) error {
	arrived := time.Now()
	if w.stopped() {
		return queueError(answered, 503, "com.amazon.coral.service#ServiceUnavailableException", "ServiceUnavailable", "stopped")
	}
	batch, err := scanBatch(asked.body)
	if err != nil {
		return &serviceError{status: 400, kind: "com.amazon.coral.service#SerializationException", message: err.Error()}
	}
	name := nameOf(batch.url)
	if err := w.knownQueue(answered, name); err != nil {
		return err
	}
	if err := checkBatch(answered, batch.entries); err != nil {
		return err
	}
	taken := w.take(name, batch.entries, arrived)
	answered.body = append(answered.body, `{"Successful":[`...)
	for at := range batch.entries {
		if at > 0 {
			answered.body = append(answered.body, ',')
		}
		answered.body = appendTaken(answered.body, &batch.entries[at], taken+int64(at), strings.HasSuffix(name, ".fifo"))
	}
	answered.body = append(answered.body, `]}`...)
	return nil
}

func checkBatch(answered *answer, entries []entry) error {
	if len(entries) == 0 {
		return queueError(answered, 400, "com.amazonaws.sqs#EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", "no entries")
	}
	if len(entries) > entriesMax {
		return queueError(answered, 400, "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
			"AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "too many entries")
	}
	size := 0
	for at := range entries {
		size += len(entries[at].body)
		for earlier := 0; earlier < at; earlier++ {
			if string(entries[earlier].id) == string(entries[at].id) {
				return queueError(answered, 400, "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
					"AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id repeated")
			}
		}
	}
	if size > batchBytesMax {
		return queueError(answered, 400, "com.amazonaws.sqs#BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", "too long")
	}
	return nil
}

func appendTaken(out []byte, one *entry, number int64, fifo bool) []byte {
	var place [32]byte
	digest := md5.Sum(one.body)
	hex.Encode(place[:], digest[:])
	out = append(out, `{"Id":"`...)
	out = append(out, one.id...)
	out = append(out, `","MessageId":"`...)
	out = append(out, "00000000-0000-4000-8000-"...)
	start := len(out)
	out = append(out, "000000000000"...)
	putDigits(out[start:], number)
	out = append(out, `","MD5OfMessageBody":"`...)
	out = append(out, place[:]...)
	if len(one.attributes) > 0 {
		out = append(out, `","MD5OfMessageAttributes":"`...)
		out = append(out, attributesMD5(one.attributes)...)
	}
	if fifo {
		out = append(out, `","SequenceNumber":"`...)
		out = strconv.AppendInt(out, 9_000_000_000_000_000_000+number, 10)
	}
	return append(out, `"}`...)
}

// attributesMD5 is the digest of text attributes as SQS reckons it: names in order, each part behind its length.
func attributesMD5(attributes map[string]attribute) string {
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	sort.Strings(names)
	var parts []byte
	part := func(text string) {
		parts = binary.BigEndian.AppendUint32(parts, uint32(len(text)))
		parts = append(parts, text...)
	}
	for _, name := range names {
		part(name)
		part(attributes[name].DataType)
		parts = append(parts, 1)
		part(attributes[name].StringValue)
	}
	digest := md5.Sum(parts)
	return hex.EncodeToString(digest[:])
}
