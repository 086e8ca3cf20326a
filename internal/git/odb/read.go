package odb

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// objectAt unpacks the object at an offset, which has at most most bytes. A
// delta's base may be bigger, up to maxObject.
func (db *DB) objectAt(p *pack, off, most int64) (*object, error) {
	var chain []header // from the object towards its base
	var obj *object
	for obj == nil {
		if o, ok := db.cache.get(place{p, off}); ok {
			obj = o
			break
		}
		h, err := p.headerAt(off)
		switch {
		case err != nil:
			return nil, err
		case !h.kind.IsDelta():
			limit := int64(maxObject)
			if len(chain) == 0 {
				limit = most
			}
			data, err := p.data(h, limit)
			if err != nil {
				return nil, err
			}
			obj = &object{kind: h.kind, data: data}
			db.cache.put(place{p, off}, obj)
		case len(chain) >= maxChain:
			return nil, fmt.Errorf("%w: chain of deltas is too long", ErrDamaged)
		default:
			chain = append(chain, h)
			if off, err = p.baseOf(h); err != nil {
				return nil, err
			}
		}
	}
	return db.unchain(p, obj, chain, most)
}

// baseOf returns the offset of a delta's base. Packs here are never thin.
func (p *pack) baseOf(h header) (int64, error) {
	if h.kind == plumbing.OFSDeltaObject {
		return h.baseOff, nil
	}
	off, ok, err := p.idx.find(h.base)
	if err != nil || !ok {
		return 0, errors.Join(fmt.Errorf("%w: base of a delta is missing", ErrDamaged), err)
	}
	return off, nil
}

func (db *DB) unchain(p *pack, obj *object, chain []header, most int64) (*object, error) {
	for i, c := range slices.Backward(chain) {
		limit := int64(maxObject)
		if i == 0 {
			limit = most
		}
		delta, err := p.data(c, maxObject)
		if err != nil {
			return nil, err
		}
		data, err := patch(obj.data, delta, limit)
		if err != nil {
			return nil, err
		}
		obj = &object{kind: obj.kind, data: data}
		// What lies between is cached, too: it is the older or newer version of
		// the same directory, which a walk through history asks for next.
		db.cache.put(place{p, c.entry}, obj)
	}
	if int64(len(obj.data)) > most {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooBig, len(obj.data), most)
	}
	return obj, nil
}
