package odb

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// object is an unpacked object. Its data is shared and never changed.
type object struct {
	kind     Kind
	data     []byte
	verified atomic.Bool // data was compared with the id it was asked for by
}

type place struct {
	pack *pack
	off  int64
}

// lru keeps unpacked objects up to a size, by the place where they lie, so that
// the bases of deltas are found without knowing their ids.
type lru struct {
	mu    sync.Mutex // guards what follows
	most  int
	bytes int
	order *list.List // of *cached, most recently used first
	at    map[place]*list.Element
}

type cached struct {
	place place
	obj   *object
}

func newLRU(most int) *lru {
	return &lru{most: most, order: list.New(), at: map[place]*list.Element{}}
}

func (c *lru) get(p place) (*object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.at[p]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).obj, true //nolint:errcheck // only *cached goes in
}

func (c *lru) put(p place, o *object) {
	// One object must not drive out all the others.
	if len(o.data) > c.most/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.at[p]; ok {
		return
	}
	c.at[p] = c.order.PushFront(&cached{place: p, obj: o})
	c.bytes += len(o.data)
	for c.bytes > c.most {
		last := c.order.Back()
		old := c.order.Remove(last).(*cached) //nolint:errcheck // only *cached goes in
		delete(c.at, old.place)
		c.bytes -= len(old.obj.data)
	}
}
