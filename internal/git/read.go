package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/git/wire"
)

// origin says how somebody came to ask for an object.
type origin bool

const (
	// named: by an id from outside, which need not be in the cache or exist.
	named origin = false
	// reached: from an object that is in the cache, and so must be there, too.
	reached origin = true
)

// object returns an object, which is fetched if it is not here, and whose bytes
// are not to be changed. Errors: stella.ErrNotFound, odb.ErrTooBig, and those of
// a fetch.
func (r *Repo) object(ctx context.Context, id ID, most int64, from origin) (odb.Kind, []byte, error) {
	var kind odb.Kind
	var data []byte
	err := r.healed(ctx, id, from, func() (err error) {
		if o, ok := r.overlay.get(id); ok {
			kind, data = o.kind, o.data
			if int64(len(data)) > most {
				return odb.ErrTooBig
			}
			return nil
		}
		kind, data, err = r.db.Read(id.hash(), most)
		return err
	})
	return kind, data, err
}

// size returns the size of an object that was reached.
func (r *Repo) size(ctx context.Context, id ID) (n int64, err error) {
	err = r.healed(ctx, id, reached, func() (err error) {
		if o, ok := r.overlay.get(id); ok {
			n = int64(len(o.data))
			return nil
		}
		n, err = r.db.Size(id.hash())
		return err
	})
	return n, err
}

// healed runs read, and once more after the cache was healed if that is what
// it takes.
func (r *Repo) healed(ctx context.Context, id ID, from origin, read func() error) error {
	if _, err := ParseID(string(id)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	err := read()
	if errors.Is(err, odb.ErrDamaged) {
		// Another process may have put something sound in its place.
		if changed, reloadErr := r.db.Reload(); reloadErr == nil && changed {
			err = read()
		}
	}
	if errors.Is(err, odb.ErrDamaged) || errors.Is(err, odb.ErrMissing) && from == reached {
		if healErr := r.rebuild(ctx, err); healErr != nil {
			return fmt.Errorf("%w; %w", healErr, err)
		}
		err = read()
	}
	if errors.Is(err, odb.ErrMissing) {
		if fetchErr := r.fetchExact(ctx, id); fetchErr != nil {
			return fmt.Errorf("fetch it from %s: %w", r.Remote(), fetchErr)
		}
		err = read()
	}
	if errors.Is(err, odb.ErrMissing) || errors.Is(err, odb.ErrDamaged) {
		return fmt.Errorf("%w: %w, and fetching it again did not help", stella.ErrTampered, err)
	}
	return err
}

// rebuildPause is how long a rebuild must be past for another one to make sense.
const rebuildPause = 10 * time.Second

// rebuild fetches the heads that were last seen anew, without their history,
// and drops all that was there. The last-seen heads stay.
func (r *Repo) rebuild(ctx context.Context, why error) error {
	r.healing.Lock()
	defer r.healing.Unlock()
	// While this goroutine waited, another may have done it.
	if time.Now().Unix()-r.rebuilt.Load() < int64(rebuildPause/time.Second) {
		return nil
	}
	r.opts.Logger.WarnContext(ctx, "rebuild the cache", "remote", r.Remote(), "err", why)
	seen, err := r.seen.read()
	if err != nil {
		return err
	}
	err = r.session(ctx, func(ctx context.Context, conn *wire.Conn) error {
		refs := refsOf(conn.Advert)
		var wants []ID
		for ref := range seen.Heads {
			if id, ok := refs.IDs[ref]; ok {
				wants = append(wants, id)
			}
		}
		if id, ok := refs.IDs[refs.Default]; ok {
			wants = append(wants, id)
		}
		if len(wants) == 0 {
			return fmt.Errorf("%w: %w", stella.ErrNotFound, ErrEmpty)
		}
		return r.receive(ctx, conn, wire.Request{Wants: hashes(wants), Depth: 1}, replace)
	})
	if err != nil {
		return fmt.Errorf("rebuild the cache of %s: %w", r.Remote(), err)
	}
	r.rebuilt.Store(time.Now().Unix())
	return r.locked(ctx, func() error {
		return r.seen.update(func(h *heads) bool {
			h.CacheBytes = r.db.Stats().Bytes
			return true
		})
	})
}

// Every fetched or pushed commit adds its changed directories whole: tens of
// kilobytes where there are thousands of environments.
const (
	growBytes = 512 << 20
	growTimes = 4
)

var errGrown = errors.New("it has grown")

// shrink fetches the cache anew when it has become much bigger than what it is
// a cache of.
func (r *Repo) shrink(ctx context.Context) error {
	if size := r.db.Stats().Bytes; size > growBytes {
		seen, err := r.seen.read()
		if err != nil || size < growBytes+growTimes*seen.CacheBytes {
			return err
		}
		if err := r.rebuild(ctx, errGrown); err != nil {
			r.opts.Logger.WarnContext(ctx, "shrink the cache", "remote", r.Remote(), "err", err)
		}
	}
	return nil
}

// fetchExact fetches one object that no head needs to lead to; of a commit
// without its parents. Errors: stella.ErrNotFound when there is no such object.
func (r *Repo) fetchExact(ctx context.Context, id ID) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience*r.opts.Timeout, errTooSlow)
	defer cancel()
	conn, err := r.remote.Open(ctx, wire.UploadPack, 2)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if conn.Advert.Version == 2 {
		resp, err := conn.FetchExact(wire.Request{Wants: hashes([]ID{id}), Depth: 1})
		if err == nil {
			err = r.store(ctx, conn, resp, merge)
		}
		if err == nil || !isNotOurs(err) {
			return err
		}
		return fmt.Errorf("%w: the remote has no object %s", stella.ErrNotFound, id)
	}
	// Without version 2, what is not a head's is only found by fetching more of
	// the default branch's history.
	if err := conn.Close(); err != nil {
		return err
	}
	for depth := firstDepth; ; depth = deeper(depth) {
		if err := r.deepenRef(ctx, "", depth); err != nil {
			return err
		}
		if r.db.Has(id.hash()) {
			return nil
		}
		if depth == wire.Everything {
			return fmt.Errorf("%w: no branch leads to object %s", stella.ErrNotFound, id)
		}
	}
}

// overlay holds what was built here. It is bounded: what was built long ago and
// never pushed is forgotten, oldest first.
type overlay struct {
	mu      sync.RWMutex // guards what follows
	objects map[ID]built
	order   []*Built
	bytes   int
}

type built struct {
	kind  odb.Kind
	data  []byte
	holds int // how many Builts have it
}

// overlayBytes bounds the overlay: some hundred commits to a configuration of
// thousands of environments.
const overlayBytes = 24 << 20

func (o *overlay) get(id ID) (built, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	b, ok := o.objects[id]
	return b, ok
}

func (o *overlay) add(b *Built) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.objects == nil {
		o.objects = map[ID]built{}
	}
	for id, obj := range b.objects {
		if held, ok := o.objects[id]; ok {
			held.holds++
			o.objects[id] = held
			continue
		}
		o.bytes += len(obj.data)
		o.objects[id] = built{kind: obj.kind, data: obj.data, holds: 1}
	}
	o.order = append(o.order, b)
	for len(o.order) > 1 && o.bytes > overlayBytes {
		o.drop(o.order[0])
	}
}

// remove forgets what is in the cache by now.
func (o *overlay) remove(b *Built) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(b)
}

func (o *overlay) drop(b *Built) {
	i := slices.Index(o.order, b)
	if i < 0 {
		return
	}
	o.order = slices.Delete(o.order, i, i+1)
	for id := range maps.Keys(b.objects) {
		held := o.objects[id]
		if held.holds--; held.holds > 0 {
			o.objects[id] = held
			continue
		}
		o.bytes -= len(held.data)
		delete(o.objects, id)
	}
}
