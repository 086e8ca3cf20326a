package configrepo

import (
	"errors"
	"fmt"
	"strings"
)

// The bounds of interpolation: what is written may name a long value often.
const (
	maxExpandedBytes = 4 << 20 // of all strings of one load together
	maxExpandDepth   = 32      // of defaults within defaults
)

// The reasons why a string can not be expanded, besides *undeclaredError and
// *requiredError.
var (
	errExpression = errors.New("is not a valid expression: want ${NAME}, ${NAME:-default}, ${NAME:?why} or ${NAME:+other}, and $$ for a dollar sign")
	errTooLong    = errors.New("becomes too long")
)

// undeclaredError says that an expression names what nobody declared.
type undeclaredError struct{ name string }

func (e *undeclaredError) Error() string { return fmt.Sprintf("${%s} is not declared", e.name) }

// requiredError is ${NAME:?why} without a value.
type requiredError struct{ name string }

func (e *requiredError) Error() string { return fmt.Sprintf("${%s} is required", e.name) }

// expander replaces ${…} as the Compose Specification says, from the declared
// variables alone. It is our own because the process must never show through,
// because a missing variable is an error, and because it has to be linear and
// bounded for any input. See https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md.
type expander struct {
	lookup func(name string) (string, bool)
	budget *int // bytes that may still be written, shared by all strings of a load
}

func newExpander(lookup func(string) (string, bool)) expander {
	budget := maxExpandedBytes
	return expander{lookup: lookup, budget: &budget}
}

// expand returns s with every expression replaced.
func (x expander) expand(s string) (string, error) {
	if !strings.Contains(s, "$") {
		return s, nil
	}
	return x.at(s, 0)
}

func (x expander) at(s string, depth int) (string, error) {
	if depth > maxExpandDepth {
		return "", errExpression
	}
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(s, "$")
		if err := x.write(&b, text); err != nil || !found {
			return b.String(), err
		}
		value, rest, err := x.expression(rest, depth)
		if err != nil {
			return "", err
		}
		if err := x.write(&b, value); err != nil {
			return "", err
		}
		s = rest
	}
}

func (x expander) write(b *strings.Builder, s string) error {
	if *x.budget -= len(s); *x.budget < 0 {
		return errTooLong
	}
	b.WriteString(s)
	return nil
}

// expression evaluates what follows a dollar sign and returns the rest.
func (x expander) expression(s string, depth int) (value, rest string, err error) {
	switch {
	case strings.HasPrefix(s, "$"):
		return "$", s[1:], nil
	case strings.HasPrefix(s, "{"):
		end := closingBrace(s)
		if end < 0 {
			return "", "", errExpression
		}
		value, err = x.braced(s[1:end], depth)
		return value, s[end+1:], err
	}
	name := variableName(s)
	if name == "" {
		return "$", s, nil // a dollar sign that starts nothing stays
	}
	value, ok := x.lookup(name)
	if !ok {
		return "", "", &undeclaredError{name}
	}
	return value, s[len(name):], nil
}

// braced evaluates what is between ${ and }.
func (x expander) braced(s string, depth int) (string, error) {
	name := variableName(s)
	if name == "" {
		return "", errExpression
	}
	value, set := x.lookup(name)
	op := s[len(name):]
	orEmpty := strings.HasPrefix(op, ":")
	if has := set && (value != "" || !orEmpty); orEmpty {
		set, op = has, op[1:]
	}
	switch {
	case op == "" && orEmpty:
		return "", errExpression
	case op == "" && !set:
		return "", &undeclaredError{name}
	case op == "":
		return value, nil
	}
	return x.operator(name, value, set, op, depth)
}

func (x expander) operator(name, value string, set bool, op string, depth int) (string, error) {
	switch {
	case op[0] == '-' && set, op[0] == '?' && set:
		return value, nil
	case op[0] == '-', op[0] == '+' && set:
		return x.at(op[1:], depth+1)
	case op[0] == '+':
		return "", nil
	case op[0] == '?':
		return "", &requiredError{name}
	}
	return "", errExpression
}

// closingBrace returns the index of the brace that closes the one s starts
// with, or -1.
func closingBrace(s string) int {
	open := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}

// variableName returns the name that s starts with, or "".
func variableName(s string) string {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z' || s[i] == '_'
		if !letter && (i == 0 || s[i] < '0' || s[i] > '9') {
			return s[:i]
		}
	}
	return s
}
