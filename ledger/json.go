package ledger

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/stella-ops/stella"
)

// checkJSON checks what encoding/json lets pass: invalid UTF-8, nesting that is
// only meant to hurt, and keys that are there twice, of which readers take
// different ones.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return refuse(stella.ErrInvalid, "not UTF-8")
	}
	if !json.Valid(data) {
		return refuse(stella.ErrInvalid, "not JSON")
	}
	s := keyScan{data: data}
	return s.run()
}

// keyScan walks over JSON that is known to be valid.
type keyScan struct {
	data  []byte
	stack []map[string]struct{} // per open object its keys; nil for a list
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
			s.stack = s.stack[:len(s.stack)-1]
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
	if object {
		s.stack = append(s.stack, map[string]struct{}{})
		return
	}
	s.stack = append(s.stack, nil)
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
	var name string
	if err := json.Unmarshal(quoted, &name); err != nil {
		return refuse(stella.ErrInvalid, "not JSON")
	}
	keys := s.stack[len(s.stack)-1]
	if _, twice := keys[name]; twice {
		return refuse(stella.ErrInvalid, "a key is there twice")
	}
	keys[name] = struct{}{}
	return nil
}
