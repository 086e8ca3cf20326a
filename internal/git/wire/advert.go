package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Advert is what a remote advertises (gitprotocol-pack(5)).
type Advert struct {
	Version int             // 0, or 2: then there are no refs
	Refs    map[string]Hash // by full name, tags unpeeled; HEAD is not among them
	Head    Hash            // what HEAD is; zero when the remote does not say
	Default string          // the branch that HEAD points to; empty when the remote does not say
	caps    map[string]string
}

const (
	maxAdvertRefs  = 1 << 20
	maxAdvertBytes = 256 << 20
)

// Has reports whether the remote has a capability.
func (a *Advert) Has(capability string) bool {
	_, ok := a.caps[capability]
	return ok
}

// readAdvert parses an advertisement. Over HTTP, a comment and a flush precede
// it; in version 2 it is only capabilities.
func readAdvert(r *bufio.Reader, s Service, version int) (*Advert, error) {
	a := &Advert{Refs: map[string]Hash{}, caps: map[string]string{}}
	first, size := true, 0
	for {
		line, kind, err := readPkt(r)
		if err != nil {
			return nil, err
		}
		if size += len(line) + 4; size > maxAdvertBytes || len(a.Refs) > maxAdvertRefs {
			return nil, fmt.Errorf("%w: the remote lists more refs than are read", stella.ErrInvalid)
		}
		switch {
		case bytes.HasPrefix(line, []byte("# service=")):
			if string(line) != "# service="+string(s) {
				return nil, errMalformed
			}
			if _, kind, err := readPkt(r); err != nil || kind != pktFlush {
				return nil, errMalformed
			}
		case kind == pktFlush && first && version != 2:
			// An empty repository may say nothing at all.
			return a, nil
		case kind == pktFlush:
			a.setDefault()
			return a, a.checkFormat()
		case kind != pktData:
			return nil, errMalformed
		case string(line) == "version 1":
		case string(line) == "version 2" && first:
			a.Version, first = 2, false
		case a.Version == 2:
			a.addCapability(string(line))
		default:
			if err := a.addLine(line, first); err != nil {
				return nil, err
			}
			first = false
		}
	}
}

// addLine adds "id SP name", in the first line followed by NUL and capabilities.
func (a *Advert) addLine(line []byte, first bool) error {
	text, caps, ok := strings.Cut(string(line), "\x00")
	if ok != first {
		return errMalformed
	}
	for c := range strings.FieldsSeq(caps) {
		a.addCapability(c)
	}
	if first {
		if err := a.checkFormat(); err != nil {
			return err
		}
	}
	id, name, ok := strings.Cut(text, " ")
	h := plumbing.NewHash(id)
	if rest, found := strings.CutPrefix(text, "shallow "); found {
		// The remote itself has only a part of the history.
		if plumbing.NewHash(rest).String() != rest {
			return errMalformed
		}
		return nil
	}
	switch {
	case !ok || h.String() != id:
		return errMalformed
	case name == "capabilities^{}" || strings.HasSuffix(name, "^{}"):
	case name == "HEAD":
		a.Head = h
	case h.IsZero():
		return errMalformed
	case strings.HasPrefix(name, "refs/"):
		a.Refs[name] = h
	}
	return nil
}

func (a *Advert) addCapability(c string) {
	name, value, _ := strings.Cut(c, "=")
	if name == "symref" {
		if target, ok := strings.CutPrefix(value, "HEAD:"); ok {
			a.Default = target
		}
		return
	}
	a.caps[name] = value
}

func (a *Advert) checkFormat() error {
	if f := a.caps["object-format"]; f != "" && f != "sha1" {
		return stella.WithHint(
			fmt.Errorf("%w: the repository uses object ids of %s", stella.ErrUnsupported, safe.Clip(f, 20)),
			"use a repository made with git init --object-format=sha1")
	}
	return nil
}

// setDefault guesses the default branch as Git does where the remote does not
// say: main or master when HEAD is there, else the first branch that is.
func (a *Advert) setDefault() {
	if a.Default != "" || a.Head.IsZero() {
		return
	}
	for _, name := range []string{"refs/heads/main", "refs/heads/master"} {
		if a.Refs[name] == a.Head {
			a.Default = name
			return
		}
	}
	for name, h := range a.Refs {
		if strings.HasPrefix(name, "refs/heads/") && h == a.Head && (a.Default == "" || name < a.Default) {
			a.Default = name
		}
	}
}
