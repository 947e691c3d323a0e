package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The limit: what a tight program costs that does no more than it must, unsigned and without leases, order or care for
// errors. It also shows how much the stand-in can serve.

const (
	matchingText = `"phase":{"S":"` + matchingPhase + `"}`
	recordStart  = `{"eventID":"`
)

type driver struct {
	url      string
	queueURL string
	pause    time.Duration
	client   *http.Client
}

// drive reads every shard for ever, a goroutine each.
func drive(url, arn, queue string, pause time.Duration) {
	transport := &http.Transport{MaxIdleConnsPerHost: 2000, DisableCompression: true}
	d := &driver{url: url, pause: pause, client: &http.Client{Transport: transport}}
	var answer bytes.Buffer
	d.call("AmazonSQS.GetQueueUrl", []byte(`{"QueueName":"`+queue+`"}`), &answer)
	var found struct {
		QueueURL string `json:"QueueUrl"`
	}
	if err := json.Unmarshal(answer.Bytes(), &found); err != nil {
		log.Fatal(err)
	}
	d.queueURL = found.QueueURL
	var all sync.WaitGroup
	for _, id := range d.shards(arn) {
		all.Add(1)
		go d.read(arn, id)
	}
	all.Wait()
}

func (d *driver) call(target string, body []byte, answer *bytes.Buffer) {
	asked, err := http.NewRequest(http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	asked.Header.Set("X-Amz-Target", target)
	returned, err := d.client.Do(asked)
	if err != nil {
		log.Fatal(err)
	}
	defer returned.Body.Close()
	answer.Reset()
	answer.Grow(int(returned.ContentLength) + bytes.MinRead)
	if _, err = answer.ReadFrom(returned.Body); err != nil && err != io.EOF {
		log.Fatal(err)
	}
	if returned.StatusCode != http.StatusOK {
		log.Fatal(answer.String())
	}
}

func (d *driver) shards(arn string) []string {
	var ids []string
	var answer bytes.Buffer
	after := ""
	for {
		d.call("DynamoDBStreams_20120810.DescribeStream", []byte(`{"StreamArn":"`+arn+`"`+after+`}`), &answer)
		var described struct {
			StreamDescription struct {
				LastEvaluatedShardID string `json:"LastEvaluatedShardId"`
				Shards               []struct {
					ShardID string `json:"ShardId"`
				}
			}
		}
		if err := json.Unmarshal(answer.Bytes(), &described); err != nil {
			log.Fatal(err)
		}
		for _, shard := range described.StreamDescription.Shards {
			ids = append(ids, shard.ShardID)
		}
		last := described.StreamDescription.LastEvaluatedShardID
		if last == "" {
			return ids
		}
		after = `,"ExclusiveStartShardId":"` + last + `"`
	}
}

func (d *driver) read(arn, id string) {
	var page, sent bytes.Buffer
	asked := fmt.Sprintf(`{"StreamArn":%q,"ShardId":%q,"ShardIteratorType":"TRIM_HORIZON"}`, arn, id)
	d.call("DynamoDBStreams_20120810.GetShardIterator", []byte(asked), &page)
	iterator := textBehind(page.Bytes(), `"ShardIterator":"`)
	for {
		d.call("DynamoDBStreams_20120810.GetRecords", []byte(`{"Limit":1000,"ShardIterator":"`+iterator+`"}`), &page)
		iterator = textBehind(page.Bytes(), `"NextShardIterator":"`)
		d.deliver(page.Bytes(), &sent)
		if page.Len() < pageBytesMax/2 {
			time.Sleep(d.pause)
		}
	}
}

// textBehind is the text that follows the last occurrence of a name.
func textBehind(body []byte, name string) string {
	rest := body[bytes.LastIndex(body, []byte(name))+len(name):]
	return string(rest[:bytes.IndexByte(rest, '"')])
}

// deliver sends the records of a page that match, ten at a time.
func (d *driver) deliver(page []byte, sent *bytes.Buffer) {
	var entries []byte
	count := 0
	for {
		at := bytes.Index(page, []byte(matchingText))
		if at < 0 {
			break
		}
		start := bytes.LastIndex(page[:at], []byte(recordStart))
		end := at + bytes.Index(page[at:], []byte(`}}`))
		end += bytes.Index(page[end+2:], []byte(`}}`)) + 4
		entries = appendEntry(entries, count, page[start:end])
		page = page[end:]
		if count++; count == entriesMax {
			d.send(entries, sent)
			entries, count = entries[:0], 0
		}
	}
	if count > 0 {
		d.send(entries, sent)
	}
}

func appendEntry(entries []byte, number int, record []byte) []byte {
	if number > 0 {
		entries = append(entries, ',')
	}
	entries = append(entries, `{"Id":"`...)
	entries = strconv.AppendInt(entries, int64(number), 10)
	entries = append(entries, `","MessageBody":"`...)
	for {
		at := bytes.IndexByte(record, '"')
		if at < 0 {
			break
		}
		entries = append(append(entries, record[:at]...), '\\', '"')
		record = record[at+1:]
	}
	return append(append(entries, record...), `"}`...)
}

func (d *driver) send(entries []byte, answer *bytes.Buffer) {
	body := append([]byte(`{"QueueUrl":"`+d.queueURL+`","Entries":[`), entries...)
	d.call("AmazonSQS.SendMessageBatch", append(body, `]}`...), answer)
	if strings.Contains(answer.String(), `"Failed"`) {
		log.Print(answer.String())
		os.Exit(1)
	}
}
