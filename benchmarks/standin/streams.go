package main

import (
	"fmt"
	"hash/crc32"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// DynamoDB Streams: one enabled stream with open shards that have no parents.

const (
	pageRecordsMax = 1000
	pageBytesMax   = 1 << 20
	pageShardsMax  = 100
	// Iterators of the service are some 250 characters long, and each is sent twice.
	iteratorPadding = "AAAAAAAAAAEvJp6D9zaQSsEdLsbxEQUBYW1XvNkKqTzCdVvUtMtWRNmh7yKvGEzGCpTTVSGuzoGkKHkrWFOqqIlnTRBmUxMuQF8p"
)

var streamOperations = map[string]handler{
	"ListStreams":      listStreams,
	"DescribeStream":   describeStream,
	"GetShardIterator": getShardIterator,
	"GetRecords":       getRecords,
}

func shardID(created time.Time, number int) string {
	millis := created.UnixMilli() + int64(number)
	return fmt.Sprintf("shardId-%020d-%08x", millis, crc32.ChecksumIEEE([]byte(strconv.Itoa(number))))
}

func listStreams(w *world, _ *request, answered *answer) error {
	stream := map[string]any{"StreamArn": w.arn, "TableName": streamTable, "StreamLabel": w.label}
	writeJSON(answered, map[string]any{"Streams": []any{stream}})
	return nil
}

func describeStream(w *world, asked *request, answered *answer) error {
	var question struct {
		StreamArn             string
		ExclusiveStartShardID string `json:"ExclusiveStartShardId"`
		Limit                 int
		ShardFilter           *struct{ Type, ShardID string }
	}
	if err := readJSON(asked, &question); err != nil {
		return err
	}
	if question.StreamArn != w.arn {
		return notFound("Requested resource not found: Stream: " + question.StreamArn + " not found")
	}
	described := map[string]any{
		"StreamArn": w.arn, "StreamLabel": w.label, "StreamStatus": "ENABLED", "StreamViewType": "NEW_IMAGE",
		"CreationRequestDateTime": float64(w.created.UnixMilli()) / 1000, "TableName": streamTable,
		"KeySchema": []any{map[string]string{"AttributeName": keyAttribute, "KeyType": "HASH"}},
	}
	page := []any{}
	if question.ShardFilter == nil {
		first, last := w.shardPage(question.ExclusiveStartShardID, question.Limit)
		for _, id := range w.shardIDs[first:last] {
			span := map[string]string{"StartingSequenceNumber": sequenceText(0)}
			page = append(page, map[string]any{"ShardId": id, "SequenceNumberRange": span})
		}
		if last < len(w.shardIDs) {
			described["LastEvaluatedShardId"] = w.shardIDs[last-1]
		}
	}
	described["Shards"] = page
	writeJSON(answered, map[string]any{"StreamDescription": described})
	return nil
}

func (w *world) shardPage(after string, limit int) (first, last int) {
	if limit <= 0 || limit > pageShardsMax {
		limit = pageShardsMax
	}
	first = sort.SearchStrings(w.shardIDs, after)
	if first < len(w.shardIDs) && w.shardIDs[first] == after {
		first++
	}
	if last = first + limit; last > len(w.shardIDs) {
		last = len(w.shardIDs)
	}
	return first, last
}

func getShardIterator(w *world, asked *request, answered *answer) error {
	var question struct {
		StreamArn, ShardIteratorType, SequenceNumber string
		ShardID                                      string `json:"ShardId"`
		Timestamp                                    *float64
	}
	if err := readJSON(asked, &question); err != nil {
		return err
	}
	shard, known := w.shards[question.ShardID]
	if question.StreamArn != w.arn || !known {
		return notFound("Requested resource not found: Shard does not exist")
	}
	place := int64(0)
	var err error
	switch question.ShardIteratorType {
	case "TRIM_HORIZON":
	case "LATEST":
		place = w.end(shard, time.Now())
	case "AT_SEQUENCE_NUMBER":
		place, err = w.placeAt(shard, question.SequenceNumber, 0)
	case "AFTER_SEQUENCE_NUMBER":
		place, err = w.placeAt(shard, question.SequenceNumber, 1)
	case "AT_TIMESTAMP":
		if question.Timestamp == nil {
			return invalid("One or more parameter values were invalid: Timestamp is missing")
		}
		place = w.placeSince(shard, *question.Timestamp)
	default:
		return invalid("Value '" + question.ShardIteratorType + "' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum")
	}
	if err == nil {
		writeJSON(answered, map[string]string{"ShardIterator": string(w.appendIterator(nil, shard, place))})
	}
	return err
}

func (w *world) placeAt(shard int, text string, beyond int64) (int64, error) {
	sequence, err := strconv.ParseInt(strings.TrimPrefix(text, sequencePrefix), 10, 64)
	if err != nil || len(text) != len(sequencePrefix)+sequenceDigits {
		return 0, invalid("One or more parameter values were invalid: Invalid SequenceNumber")
	}
	end := w.end(shard, time.Now())
	return int64(sort.Search(int(end), func(place int) bool {
		return w.load.sequence(shard, int64(place)) >= sequence+beyond
	})), nil
}

func (w *world) placeSince(shard int, second float64) int64 {
	end := w.end(shard, time.Now())
	return int64(sort.Search(int(end), func(place int) bool {
		return float64(w.producedAt(shard, int64(place)).Unix()) >= math.Floor(second)
	}))
}

func (w *world) appendIterator(out []byte, shard int, place int64) []byte {
	out = append(out, w.arn...)
	out = append(out, "|1|"+iteratorPadding...)
	out = strconv.AppendInt(out, int64(shard), 10)
	out = append(out, '|')
	return strconv.AppendInt(out, place, 10)
}

func (w *world) readIterator(text string) (shard int, place int64, err error) {
	rest := strings.TrimPrefix(text, w.arn+"|1|"+iteratorPadding)
	before, after, _ := strings.Cut(rest, "|")
	shard, err = strconv.Atoi(before)
	if err == nil {
		place, err = strconv.ParseInt(after, 10, 64)
	}
	if err != nil || shard < 0 || shard >= w.load.shards || place < 0 {
		return 0, 0, invalid("Invalid ShardIterator")
	}
	return shard, place, nil
}

func getRecords(w *world, asked *request, answered *answer) error {
	var question struct {
		ShardIterator string
		Limit         *int
	}
	if err := readJSON(asked, &question); err != nil {
		return err
	}
	limit := pageRecordsMax
	if question.Limit != nil {
		limit = *question.Limit
	}
	if limit < 1 || limit > pageRecordsMax {
		return invalid("One or more parameter values were invalid: Limit should be less than or equal to 1000")
	}
	shard, first, err := w.readIterator(question.ShardIterator)
	if err != nil {
		return err
	}
	end := w.end(shard, time.Now())
	last := first + int64(limit)
	if last > end {
		last = end
	}
	if last < first {
		last = first
	}
	answered.body = append(answered.body, `{"Records":[`...)
	answered.body, last = w.appendPage(answered.body, shard, first, last)
	answered.body = append(answered.body, `],"NextShardIterator":"`...)
	answered.body = w.appendIterator(answered.body, shard, last)
	answered.body = append(answered.body, `"}`...)
	w.pageRead(shard, first, last, end)
	return nil
}

// appendPage appends the records of a page, and says where it ended: a page has an end in bytes as well.
func (w *world) appendPage(out []byte, shard int, first, last int64) ([]byte, int64) {
	start := len(out)
	mould := w.mould.Load()
	for place := first; place < last; place++ {
		if second := w.producedAt(shard, place).Unix(); mould.second != second {
			mould = newTemplate(second, w.load.imageBytes)
			w.mould.Store(mould)
		}
		if place > first {
			if len(out)-start+len(mould.text) >= pageBytesMax {
				return out, place
			}
			out = append(out, ',')
		}
		out = mould.appendRecord(out, &w.load, shard, place)
	}
	return out, last
}

// end is the place of the next record to come. Live records are not made by a ticker: when each of them comes is
// fixed, one at a random moment in each of the even slots of its shard, and whoever reads finds those that have come.
func (w *world) end(shard int, now time.Time) int64 {
	w.mutex.Lock()
	begun, ended, held := w.begun, w.ended, w.held
	w.mutex.Unlock()
	if held {
		return 0
	}
	if begun.IsZero() || w.load.rate == 0 {
		return w.load.records
	}
	if !ended.IsZero() && now.After(ended) {
		now = ended
	}
	slots := now.Sub(begun).Seconds() * w.load.rate
	whole := int64(slots)
	if slots-float64(whole) >= w.moment(shard, whole) {
		whole++
	}
	return w.load.records + whole
}

// moment is where in its slot a live record comes, 0 to 1.
func (w *world) moment(shard int, slot int64) float64 {
	return float64(mix(uint64(w.load.number(shard, slot)))>>11) / (1 << 53)
}

// producedAt is when a record came: those of the backlog with the stream itself.
func (w *world) producedAt(shard int, place int64) time.Time {
	if place < w.load.records {
		return w.created
	}
	w.mutex.Lock()
	begun := w.begun
	w.mutex.Unlock()
	slot := place - w.load.records
	seconds := (float64(slot) + w.moment(shard, slot)) / w.load.rate
	return begun.Add(time.Duration(seconds * float64(time.Second)))
}
