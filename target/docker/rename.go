package docker

import "context"

// suffixMoved is of a container whose name another service of the target has
// been given in the same order, until its own turn comes.
const suffixMoved = ".moved"

// freeNames takes the names that this service needs from the containers of other
// services of the target: names may move within one order. What runs goes on
// under a name that nobody wants; what was kept, or left by a broken-off order,
// is removed. A crash after either leaves services that run under wrong names,
// which the next order puts right.
func (r *replacement) freeNames(ctx context.Context) error {
	for _, c := range r.inv.ours {
		b := &box{Summary: c, name: nameOf(c)}
		service := serviceOf(c)
		needed := b.name == r.called || b.name == r.called+suffixNext || b.name == r.called+suffixPrevious
		if service == r.name || !needed {
			continue
		}
		var err error
		if isPassing(b.name) && !b.runs() {
			err = r.d.scrap(ctx, r.step, b)
		} else {
			err = r.rename(ctx, b, r.d.nameFor(service, nil)+suffixMoved)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
