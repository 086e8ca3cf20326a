package ledger

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/stella-ops/stella"
)

// checkJSON checks what encoding/json lets pass: invalid UTF-8, nesting that is
// only meant to hurt, and keys that are there twice, of which readers take
// different ones. It returns the value without the space between its tokens.
func checkJSON(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, refuse(stella.ErrInvalid, "not UTF-8")
	}
	var compact bytes.Buffer
	compact.Grow(len(data))
	if err := json.Compact(&compact, data); err != nil {
		return nil, refuse(stella.ErrInvalid, "not JSON")
	}
	s := keyScan{data: compact.Bytes()}
	return s.data, s.run()
}

// keyScan walks over JSON that is known to be valid.
type keyScan struct {
	data  []byte
	stack []map[string]struct{} // per open object its keys; nil for a list
	spare []map[string]struct{} // of objects that are closed
}

func (s *keyScan) run() error {
	key := false // a string here is a key
	for i := 0; i < len(s.data); i++ {
		switch s.data[i] {
		case '{', '[':
			if len(s.stack) == maxDepth {
				return refuse(stella.ErrInvalid, "nested more than %d deep", maxDepth)
			}
			key = s.data[i] == '{'
			s.push(key)
		case '}', ']':
			s.pop()
		case ',':
			key = len(s.stack) > 0 && s.stack[len(s.stack)-1] != nil
		case '"':
			end := s.stringEnd(i)
			if key {
				if err := s.see(s.data[i:end]); err != nil {
					return err
				}
				key = false
			}
			i = end - 1
		}
	}
	return nil
}

func (s *keyScan) push(object bool) {
	var keys map[string]struct{}
	if n := len(s.spare); object && n > 0 {
		keys, s.spare = s.spare[n-1], s.spare[:n-1]
		clear(keys)
	} else if object {
		keys = map[string]struct{}{}
	}
	s.stack = append(s.stack, keys)
}

func (s *keyScan) pop() {
	last := len(s.stack) - 1
	if keys := s.stack[last]; keys != nil {
		s.spare = append(s.spare, keys)
	}
	s.stack = s.stack[:last]
}

// stringEnd returns the index after the string that starts at i.
func (s *keyScan) stringEnd(i int) int {
	for i++; s.data[i] != '"'; i++ {
		if s.data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func (s *keyScan) see(quoted []byte) error {
	name := string(quoted[1 : len(quoted)-1])
	if strings.Contains(name, `\`) {
		if err := json.Unmarshal(quoted, &name); err != nil {
			return refuse(stella.ErrInvalid, "not JSON")
		}
	}
	keys := s.stack[len(s.stack)-1]
	if _, twice := keys[name]; twice {
		return refuse(stella.ErrInvalid, "a key is there twice")
	}
	keys[name] = struct{}{}
	return nil
}
