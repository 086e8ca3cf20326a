package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
)

// heads is the file of last-seen heads: the only thing beside the remote's refs
// that is not a cache. Fields are only ever added.
type heads struct {
	SchemaVersion int           `json:"schemaVersion"` // 1
	Default       string        `json:"default"`       // the branch that HEAD pointed to; empty before it was fetched
	At            time.Time     `json:"at"`            // when something in here changed last
	Heads         map[string]ID `json:"heads"`         // ref → commit
	Proved        map[string]ID `json:"proved"`        // ref → commit up to which its content was proved; see Prove
	CacheBytes    int64         `json:"cacheBytes"`    // size of the cache when it was last fetched anew
}

// headsFile reads and writes heads. Reading a file that did not change costs a
// stat: it is replaced by renaming, so that another content is another file.
type headsFile struct {
	path string

	mu   sync.Mutex // guards what follows
	info fs.FileInfo
	last heads
}

// read returns the heads, not to be changed. A damaged file is an alarm and not
// an empty one: without it, nobody would notice a rewind.
func (f *headsFile) read() (heads, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return heads{SchemaVersion: 1}, nil
	}
	if err != nil {
		return heads{}, err
	}
	if f.info != nil && os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime()) && info.Size() == f.info.Size() {
		return f.last, nil
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return heads{}, err
	}
	var h heads
	if err := json.Unmarshal(data, &h); err != nil || h.SchemaVersion != 1 || !h.valid() {
		return heads{}, stella.WithHint(fmt.Errorf("%w: the file of last-seen heads is damaged or of another version of stella", stella.ErrTampered),
			"find out what happened to "+f.path+"; removing it trusts the remote as on first contact")
	}
	f.info, f.last = info, h
	return h, nil
}

func (h heads) valid() bool {
	for _, m := range []map[string]ID{h.Heads, h.Proved} {
		for ref, id := range m {
			if _, err := ParseID(string(id)); err != nil || CheckRef(ref) != nil {
				return false
			}
		}
	}
	return h.Default == "" || CheckRef(h.Default) == nil
}

// update changes the heads if change says that it did something. The caller
// holds the lock.
func (f *headsFile) update(change func(*heads) bool) error {
	old, err := f.read()
	if err != nil {
		return err
	}
	h := heads{SchemaVersion: 1, Default: old.Default, At: time.Now().UTC(), Heads: maps.Clone(old.Heads), Proved: maps.Clone(old.Proved), CacheBytes: old.CacheBytes}
	if h.Heads == nil {
		h.Heads = map[string]ID{}
	}
	if h.Proved == nil {
		h.Proved = map[string]ID{}
	}
	if !change(&h) {
		return nil
	}
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return durable.WriteFile(f.path, append(data, '\n'), 0o600)
}

// Seen returns the heads as they were last seen, without the network: what
// Fetch found and Push left. At is when one of them changed last. It costs a
// stat when nothing changed; the map is shared and must not be written to.
func (r *Repo) Seen(context.Context) (Refs, error) {
	h, err := r.seen.read()
	if err != nil {
		return Refs{}, err
	}
	return Refs{Default: h.Default, IDs: h.Heads, At: h.At}, nil
}

// Proved returns the commit up to which a ref's content was proved on this
// machine, empty for none. It survives the process, unlike what was only seen:
// who fetched a head may have found it wrong.
func (r *Repo) Proved(ref string) ID {
	h, err := r.seen.read()
	if err != nil {
		return ""
	}
	return h.Proved[ref]
}

// Prove remembers that a ref's content was proved up to a commit. A Push of a
// commit on top of that one counts as proved itself.
func (r *Repo) Prove(ctx context.Context, ref string, id ID) error {
	if r.Proved(ref) == id {
		return nil
	}
	return r.locked(ctx, func() error {
		return r.seen.update(func(h *heads) bool {
			h.Proved[ref] = id
			return true
		})
	})
}

// AcceptHead accepts that a ref was rewound, deleted or replaced: id becomes its
// last-seen head, or with an empty id it is forgotten and trusted on the next
// contact. The ref "HEAD" with any id accepts another default branch.
func (r *Repo) AcceptHead(ref string, id ID) error {
	if ref != "HEAD" {
		if err := CheckRef(ref); err != nil {
			return err
		}
	}
	if _, err := ParseID(string(id)); err != nil && id != "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.opts.Timeout)
	defer cancel()
	err := r.locked(ctx, func() error {
		return r.seen.update(func(h *heads) bool {
			switch {
			case ref == "HEAD":
				h.Default = ""
			case id == "":
				delete(h.Heads, ref)
			default:
				h.Heads[ref] = id
			}
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("accept %s of %s: %w", safe.Line(ref), r.Remote(), err)
	}
	return nil
}
