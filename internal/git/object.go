package git

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// maxCommitBytes bounds a commit: its message is the only part without a bound
// of its own.
const maxCommitBytes = 1 << 20

// parseCommit parses the raw bytes of a commit. It is strict: a commit that
// different programs read differently is refused (class stella.ErrInvalid).
func parseCommit(id ID, data []byte) (Commit, error) {
	bad := func(what string) (Commit, error) {
		return Commit{}, fmt.Errorf("%w: commit %s: %s", stella.ErrInvalid, id, what)
	}
	head, message, ok := bytes.Cut(data, []byte("\n\n"))
	if !ok {
		// A commit with an empty message may end with its header.
		head = bytes.TrimSuffix(data, []byte("\n"))
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return bad("it has a NUL")
	}
	p := headerLines{lines: strings.Split(string(head), "\n")}
	c := Commit{ID: id, Message: string(message)}
	var err error
	if c.Tree, err = ParseID(p.take("tree")); err != nil {
		return bad("it has no tree where it should")
	}
	for p.is("parent") {
		parent, err := ParseID(p.take("parent"))
		if err != nil {
			return bad("it has a malformed parent")
		}
		c.Parents = append(c.Parents, parent)
	}
	if c.Author, ok = parseSignature(p.take("author")); !ok {
		return bad("it has no author where it should")
	}
	if c.Committer, ok = parseSignature(p.take("committer")); !ok {
		return bad("it has no committer where it should")
	}
	for _, line := range p.lines {
		name, _, _ := strings.Cut(line, " ")
		switch name {
		case "tree", "parent", "author", "committer":
			return bad("it has " + name + " twice")
		}
	}
	return c, nil
}

// headerLines takes lines "name value" off the start of a header.
type headerLines struct{ lines []string }

func (h *headerLines) is(name string) bool {
	return len(h.lines) > 0 && strings.HasPrefix(h.lines[0], name+" ")
}

func (h *headerLines) take(name string) string {
	if !h.is(name) {
		return ""
	}
	v := strings.TrimPrefix(h.lines[0], name+" ")
	h.lines = h.lines[1:]
	return v
}

// parseSignature parses "Name <email> seconds +hhmm".
func parseSignature(s string) (Signature, bool) {
	open, end := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>')
	if open < 0 || end < open {
		return Signature{}, false
	}
	sig := Signature{Name: strings.TrimSpace(s[:open]), Email: s[open+1 : end]}
	seconds, zone, ok := strings.Cut(strings.TrimSpace(s[end+1:]), " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	// Beyond that no time prints as four digits of a year.
	const farFuture = 253402300799
	if !ok || err != nil || unix < 0 || unix > farFuture {
		return Signature{}, false
	}
	sig.When = time.Unix(unix, 0).In(parseZone(zone))
	return sig, true
}

// parseZone parses "+hhmm"; what is not that counts as UTC.
func parseZone(s string) *time.Location {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 5 || n%100 > 59 || n%100 < -59 || n > 1400 || n < -1400 || n == 0 {
		return time.UTC
	}
	return time.FixedZone("", n/100*3600+n%100*60)
}

// encodeCommit writes a commit's raw bytes.
func encodeCommit(tree ID, d Draft) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range d.Parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n", encodeSignature(d.Author), encodeSignature(d.Committer))
	b.WriteString(strings.ReplaceAll(strings.TrimRight(d.Message, "\n"), "\x00", ""))
	b.WriteByte('\n')
	return b.Bytes()
}

func encodeSignature(s Signature) string {
	return fmt.Sprintf("%s <%s> %d %s", plainName(s.Name), plainName(s.Email), s.When.Unix(), s.When.Format("-0700"))
}

// plainName drops what would end a name early.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '<' || r == '>' || r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(strings.ToValidUTF8(s, ""))
}

// Limits of trees. A configuration has some thousand entries at most.
const (
	maxTreeBytes   = 16 << 20
	maxTreeEntries = 100_000
	maxNameBytes   = 255
	maxTreeDepth   = 32
)

// parseTree parses and validates the raw bytes of a tree. Git itself does not
// check what it fetches unless told: nothing in here is taken on trust. Errors
// are of class stella.ErrInvalid.
func parseTree(data []byte) ([]Entry, error) {
	entries := make([]Entry, 0, len(data)/32)
	names := make(map[string]bool, len(data)/32)
	for len(data) > 0 {
		e, rest, err := parseEntry(data)
		if err != nil {
			return nil, err
		}
		if names[e.Name] {
			return nil, fmt.Errorf("%w: entry %q is there twice", stella.ErrInvalid, safe.Line(e.Name))
		}
		if n := len(entries); n > 0 && compareEntries(entries[n-1], e) >= 0 {
			return nil, fmt.Errorf("%w: entry %q is not where it is sorted to", stella.ErrInvalid, safe.Line(e.Name))
		}
		if len(entries) == maxTreeEntries {
			return nil, fmt.Errorf("%w: more than %d entries", stella.ErrInvalid, maxTreeEntries)
		}
		names[e.Name] = true
		entries, data = append(entries, e), rest
	}
	return entries, nil
}

// parseEntry parses "mode SP name NUL id".
func parseEntry(data []byte) (Entry, []byte, error) {
	const idBytes = 20
	sp, nul := bytes.IndexByte(data, ' '), bytes.IndexByte(data, 0)
	if sp < 0 || nul < sp || len(data) < nul+1+idBytes {
		return Entry{}, nil, fmt.Errorf("%w: malformed tree", stella.ErrInvalid)
	}
	e := Entry{Name: string(data[sp+1 : nul]), ID: ID(hex.EncodeToString(data[nul+1 : nul+1+idBytes]))}
	if err := checkName(e.Name); err != nil {
		return Entry{}, nil, err
	}
	var ok bool
	if e.Mode, ok = parseMode(string(data[:sp])); !ok {
		return Entry{}, nil, fmt.Errorf("%w: entry %q has mode %q", stella.ErrInvalid, safe.Line(e.Name), safe.Clip(string(data[:sp]), 10))
	}
	return e, data[nul+1+idBytes:], nil
}

// parseMode returns the mode of an entry. Old programs wrote 100664, which
// means an ordinary file.
func parseMode(s string) (uint32, bool) {
	switch s {
	case "100644", "100664":
		return ModeFile, true
	case "100755":
		return ModeExecutable, true
	case "40000":
		return ModeDir, true
	case "120000":
		return ModeSymlink, true
	case "160000":
		return ModeSubmodule, true
	}
	return 0, false
}
