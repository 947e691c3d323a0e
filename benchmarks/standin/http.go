package main

import (
	"bufio"
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"log"
	"net"
	"strconv"
	"strings"
	"time"
)

// HTTP/1.1 over kept connections, and no more of it than the clients at hand need: net/http would cost more than what
// is served. Request bodies have a Content-Length.

const jsonType = "application/x-amz-json-1.0"

var errBadRequest = errors.New("not a request that is understood here")

// request is one request; body and header values are valid until the next one on its connection.
type request struct {
	method, path, target string
	header               map[string]string
	body                 []byte
}

// answer is one answer; its body's buffer is used again by the next one on the connection.
type answer struct {
	status   int
	body     []byte
	checked  bool // carries x-amz-crc32
	errorTag string
}

func serve(listener net.Listener, world *world) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go converse(connection, world)
	}
}

func converse(connection net.Conn, world *world) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 64<<10)
	var asked request
	var answered answer
	var head []byte
	for {
		if err := readRequest(reader, connection, &asked); err != nil {
			if errors.Is(err, errBadRequest) {
				log.Print(err)
			}
			return
		}
		answered = answer{status: 200, body: answered.body[:0]}
		world.answer(&asked, &answered)
		head = appendHead(head[:0], &answered)
		parts := net.Buffers{head, answered.body}
		if _, err := parts.WriteTo(connection); err != nil {
			return
		}
	}
}

func readRequest(reader *bufio.Reader, connection io.Writer, into *request) error {
	line, err := readLine(reader)
	if err != nil {
		return err
	}
	words := strings.Split(line, " ")
	if len(words) != 3 {
		return errBadRequest
	}
	into.method, into.path, into.header = words[0], words[1], make(map[string]string, 12)
	for {
		if line, err = readLine(reader); err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		into.header[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	into.target = into.header["x-amz-target"]
	if strings.EqualFold(into.header["expect"], "100-continue") {
		if _, err = io.WriteString(connection, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	return readBody(reader, into)
}

func readBody(reader *bufio.Reader, into *request) error {
	length := 0
	if text := into.header["content-length"]; text != "" {
		var err error
		if length, err = strconv.Atoi(text); err != nil {
			return errBadRequest
		}
	} else if into.header["transfer-encoding"] != "" {
		return errBadRequest
	}
	if cap(into.body) < length {
		into.body = make([]byte, length)
	}
	into.body = into.body[:length]
	_, err := io.ReadFull(reader, into.body)
	return err
}

func readLine(reader *bufio.Reader) (string, error) {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}

func appendHead(head []byte, answered *answer) []byte {
	head = append(head, "HTTP/1.1 "...)
	head = strconv.AppendInt(head, int64(answered.status), 10)
	head = append(head, reasons[answered.status]...)
	head = append(head, "\r\nServer: Server\r\nDate: "...)
	head = time.Now().UTC().AppendFormat(head, "Mon, 02 Jan 2006 15:04:05 GMT")
	head = append(head, "\r\nContent-Type: "+jsonType+"\r\nContent-Length: "...)
	head = strconv.AppendInt(head, int64(len(answered.body)), 10)
	if answered.checked {
		head = append(head, "\r\nx-amz-crc32: "...)
		head = strconv.AppendUint(head, uint64(crc32.ChecksumIEEE(answered.body)), 10)
	}
	if answered.errorTag != "" {
		head = append(head, "\r\nx-amzn-query-error: "+answered.errorTag...)
	}
	return append(head, "\r\nConnection: keep-alive\r\nx-amzn-RequestId: 4VDH7NRPSBD4PVT0O2N3C8J5ABVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n\r\n"...)
}

var reasons = map[int]string{200: " OK", 400: " Bad Request", 404: " Not Found", 500: " Internal Server Error", 503: " Service Unavailable"}
