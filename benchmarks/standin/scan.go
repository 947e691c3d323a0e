package main

import (
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A reader of SendMessageBatch requests: encoding/json takes several times as long, and here most of a request is text.

var errScan = errors.New("malformed JSON")

type batch struct {
	url     string
	entries []entry
}

type scanner struct {
	text []byte
	at   int
}

// scanBatch reads a request. Texts that have no escapes stay where they are; the others are unescaped in place.
func scanBatch(text []byte) (*batch, error) {
	read := &batch{entries: make([]entry, 0, entriesMax)}
	s := &scanner{text: text}
	err := s.object(func(name string) error {
		switch name {
		case "QueueUrl":
			url, err := s.string()
			read.url = string(url)
			return err
		case "Entries":
			return s.array(func() error { return s.entry(read) })
		}
		return s.skip()
	})
	if err == nil && s.peek() != 0 {
		err = errScan
	}
	return read, err
}

func (s *scanner) entry(into *batch) error {
	var one entry
	err := s.object(func(name string) (err error) {
		switch name {
		case "Id":
			one.id, err = s.string()
		case "MessageBody":
			one.body, err = s.string()
		case "MessageAttributes":
			start := s.at
			if err = s.skip(); err == nil {
				err = json.Unmarshal(s.text[start:s.at], &one.attributes)
			}
		default:
			err = s.skip()
		}
		return err
	})
	into.entries = append(into.entries, one)
	return err
}

// peek skips white space and gives the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		if c := s.text[s.at]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) object(member func(name string) error) error {
	return s.between('{', '}', func() error {
		name, err := s.string()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return errScan
		}
		s.peek()
		return member(string(name))
	})
}

func (s *scanner) array(element func() error) error { return s.between('[', ']', element) }

func (s *scanner) between(opening, closing byte, element func() error) error {
	if !s.take(opening) {
		return errScan
	}
	if s.take(closing) {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(closing) {
			return nil
		}
		if !s.take(',') {
			return errScan
		}
	}
}

// string reads a text; what is escaped is overwritten by what it stands for, which is never longer.
func (s *scanner) string() ([]byte, error) {
	if !s.take('"') {
		return nil, errScan
	}
	start, end := s.at, s.at
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == '"':
			s.at++
			return s.text[start:end], nil
		case c < ' ':
			return nil, errScan
		case c == '\\':
			written, err := s.escape(end)
			if err != nil {
				return nil, err
			}
			end = written
		default:
			s.text[end] = c
			end++
			s.at++
		}
	}
	return nil, errScan
}

// escape writes the escaped character at `to` and returns the place behind it.
func (s *scanner) escape(to int) (int, error) {
	if s.at+1 >= len(s.text) {
		return 0, errScan
	}
	c := s.text[s.at+1]
	s.at += 2
	switch c {
	case '"', '\\', '/':
		s.text[to] = c
	case 'n':
		s.text[to] = '\n'
	case 't':
		s.text[to] = '\t'
	case 'r':
		s.text[to] = '\r'
	case 'b':
		s.text[to] = '\b'
	case 'f':
		s.text[to] = '\f'
	case 'u':
		return s.escapedRune(to)
	default:
		return 0, errScan
	}
	return to + 1, nil
}

func (s *scanner) escapedRune(to int) (int, error) {
	first, err := s.hex()
	if err != nil {
		return 0, err
	}
	if utf16.IsSurrogate(first) && s.at+1 < len(s.text) && s.text[s.at] == '\\' && s.text[s.at+1] == 'u' {
		s.at += 2
		second, err := s.hex()
		if err != nil {
			return 0, err
		}
		first = utf16.DecodeRune(first, second)
	}
	return to + utf8.EncodeRune(s.text[to:s.at], first), nil
}

func (s *scanner) hex() (rune, error) {
	if s.at+4 > len(s.text) {
		return 0, errScan
	}
	value, err := strconv.ParseUint(string(s.text[s.at:s.at+4]), 16, 32)
	s.at += 4
	return rune(value), err
}

// skip passes over any value, without changing it.
func (s *scanner) skip() error {
	depth := 0
	for {
		switch c := s.peek(); c {
		case 0:
			return errScan
		case '{', '[':
			depth++
			s.at++
		case '}', ']':
			depth--
			s.at++
		case '"':
			if err := s.skipString(); err != nil {
				return err
			}
		case ',', ':':
			s.at++
			continue
		default:
			for s.at < len(s.text) && s.text[s.at] > ' ' && s.text[s.at] != ',' && s.text[s.at] != '}' && s.text[s.at] != ']' {
				s.at++
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

func (s *scanner) skipString() error {
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return nil
		}
	}
	return errScan
}
