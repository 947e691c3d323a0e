package main

import (
	"bytes"
	"strconv"
	"strings"
)

// Stream records as the service writes them, each rendered when it is read: one copy of a template with its holes
// filled. That is faster than a gigabyte of pages made beforehand, which no cache of a processor holds.

const (
	region         = "us-east-1"
	account        = "123456789012"
	streamTable    = "AnalysisMetadataTable"
	keyAttribute   = "analysisRequestId"
	numberDigits   = 12
	sequencePrefix = "300000"
	sequenceDigits = 19
	matchingPhase  = "FILE_UPLOAD_COMPLETE"
	otherPhase     = "FILE_UPLOAD_STARTED." // as long as the other: all records have one length
	revisionMark   = "revision-"
)

// workload is what the stream holds. A record is known by its place in its shard; over the whole stream it has the
// number place*shards + shard, which stands in its image.
type workload struct {
	shards     int
	records    int64
	rate       float64
	matchEvery int64
	items      int64
	imageBytes int
}

func (w *workload) number(shard int, place int64) int64 { return place*int64(w.shards) + int64(shard) }

func (w *workload) placeOf(number int64) (shard int, place int64) {
	return int(number % int64(w.shards)), number / int64(w.shards)
}

func (w *workload) matches(place int64) bool { return w.matchEvery > 0 && place%w.matchEvery == 0 }

// matchesBefore counts the matching records of a shard before a place.
func (w *workload) matchesBefore(place int64) int64 {
	if w.matchEvery == 0 {
		return 0
	}
	return (place + w.matchEvery - 1) / w.matchEvery
}

// sequence numbers rise by ten within the whole stream: they are not consecutive, as the service's are not.
func (w *workload) sequence(shard int, place int64) int64 { return (w.number(shard, place) + 1) * 10 }

func sequenceText(sequence int64) string {
	text := []byte(sequencePrefix + strings.Repeat("0", sequenceDigits))
	putDigits(text[len(sequencePrefix):], sequence)
	return string(text)
}

// template is a record of one second with holes.
type template struct {
	second                                          int64
	text                                            []byte
	eventID, key, imageKey, phase, number, sequence int
}

func newTemplate(second int64, imageBytes int) *template {
	t := &template{second: second}
	add := func(text string) { t.text = append(t.text, text...) }
	hole := func(width int) int {
		at := len(t.text)
		add(strings.Repeat("0", width))
		return at
	}
	add(`{"eventID":"`)
	t.eventID = hole(32)
	add(`","eventName":"MODIFY","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"` + region)
	add(`","dynamodb":{"ApproximateCreationDateTime":` + javaNumber(second) + `,"Keys":{"` + keyAttribute + `":{"S":"request-`)
	t.key = hole(numberDigits)
	add(`"}},"NewImage":`)
	image := len(t.text)
	add(`{"` + keyAttribute + `":{"S":"request-`)
	t.imageKey = hole(numberDigits)
	add(`"},"phase":{"S":"`)
	t.phase = hole(len(matchingPhase))
	add(`"},"requestorId":{"S":"requestor-0000"},"revision":{"S":"` + revisionMark)
	t.number = hole(numberDigits)
	add(`"},"padding":{"S":"`)
	if padding := imageBytes - (len(t.text) - image) - len(`"}}`); padding > 0 {
		add(strings.Repeat("x", padding))
	}
	add(`"}},"SequenceNumber":"` + sequencePrefix)
	t.sequence = hole(sequenceDigits)
	add(`","SizeBytes":` + strconv.Itoa(imageBytes) + `,"StreamViewType":"NEW_IMAGE"}}`)
	return t
}

// javaNumber writes whole seconds as the service prints them: 1.795453E9.
func javaNumber(second int64) string {
	digits := strconv.FormatInt(second, 10)
	rest := strings.TrimRight(digits[1:], "0")
	if rest == "" {
		rest = "0"
	}
	return digits[:1] + "." + rest + "E" + strconv.Itoa(len(digits)-1)
}

func (t *template) appendRecord(out []byte, w *workload, shard int, place int64) []byte {
	start := len(out)
	out = append(out, t.text...)
	record := out[start:]
	number, sequence := w.number(shard, place), w.sequence(shard, place)
	item := number
	if w.items > 0 {
		item %= w.items
	}
	putHex(record[t.eventID:t.eventID+16], mix(uint64(sequence)))
	putHex(record[t.eventID+16:t.eventID+32], uint64(sequence))
	putDigits(record[t.key:t.key+numberDigits], item)
	copy(record[t.imageKey:], record[t.key:t.key+numberDigits])
	phase := otherPhase
	if w.matches(place) {
		phase = matchingPhase
	}
	copy(record[t.phase:], phase)
	putDigits(record[t.number:t.number+numberDigits], number)
	putDigits(record[t.sequence:t.sequence+sequenceDigits], sequence)
	return out
}

func putDigits(hole []byte, value int64) {
	for at := len(hole) - 1; value > 0 && at >= 0; at-- {
		hole[at] = byte('0' + value%10)
		value /= 10
	}
}

func putHex(hole []byte, value uint64) {
	for at := len(hole) - 1; at >= 0; at-- {
		hole[at] = "0123456789abcdef"[value&15]
		value >>= 4
	}
}

// mix spreads a number over all 64 bits (splitmix64's finaliser).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// numberIn finds the record's number in a message, however its sender wrote the record; -1: it holds none.
func numberIn(message []byte) int64 {
	at := bytes.Index(message, []byte(revisionMark))
	if at < 0 || len(message) < at+len(revisionMark)+numberDigits {
		return -1
	}
	var number int64
	for _, digit := range message[at+len(revisionMark):][:numberDigits] {
		if digit < '0' || digit > '9' {
			return -1
		}
		number = number*10 + int64(digit-'0')
	}
	return number
}
