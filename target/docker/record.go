package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// recordImage is what a record is made of: an image without a single file, which
// the engine makes itself of an empty archive.
const recordImage = "stella/record:1"

// record is what is known of a target, in a label of a container that is never
// started. It is a stored format.
type record struct {
	SchemaVersion int             `json:"schemaVersion"` // 1
	Environment   stella.EnvName  `json:"environment"`
	Target        string          `json:"target"`
	Machine       string          `json:"machine"`           // identity of the engine
	Fence         int64           `json:"fence"`             // never goes down
	Sticker       *stella.Sticker `json:"sticker,omitempty"` // nil before the first order and after a removal
	Holdings      holdings        `json:"holdings"`          // networks and volumes that no label tells of
	Adopted       []adopted       `json:"adopted,omitempty"` // containers that are ours without a label
	Stopped       bool            `json:"stopped,omitempty"` // what ended with success was told to; see Docker.Stop
}

// adopted is a container that somebody else made and that is ours since then.
type adopted struct {
	ID   string `json:"id"`
	Spec string `json:"spec"` // as in labelSpec
}

func (r record) adoption(id string) (adopted, bool) {
	for _, a := range r.Adopted {
		if a.ID == id {
			return a, true
		}
	}
	return adopted{}, false
}

// sealed is a record as it is in the label.
type sealed struct {
	Revision int64         `json:"revision"`
	Record   record        `json:"record"`
	Sum      stella.Digest `json:"sum"` // of revision and record
}

func seal(revision int64, r record) (string, error) {
	sum, err := drift.Digest(revision, r)
	if err != nil {
		return "", fmt.Errorf("seal the record: %w", err)
	}
	text, err := json.Marshal(sealed{revision, r, sum})
	return string(text), err
}

// unseal reads a label; whole is false for one that is not as it was written.
func unseal(label string) (s sealed, whole bool) {
	const mostBytes = 1 << 20
	if len(label) > mostBytes || json.Unmarshal([]byte(label), &s) != nil {
		return sealed{}, false
	}
	sum, err := drift.Digest(s.Revision, s.Record)
	return s, err == nil && sum == s.Sum
}

// ledger is what the engine has of records: normally one, two while it is
// written, none before the first order.
type ledger struct {
	sealed
	whole bool              // there is one that can be believed
	found []recordContainer // newest first
}

type recordContainer struct {
	id, name string
	revision int64 // as its name says
	sealed   sealed
	whole    bool
}

// recordPrefix is what the names of the target's records start with. No name has
// a dot, so that no two targets share one, whatever hyphens they have.
func (d *Docker) recordPrefix() string {
	return "stella." + d.cfg.Project + "." + string(d.cfg.Environment) + "." + d.cfg.Name + "."
}

// isRecord reports whether a container is a record of this target. Labels do not
// make it one: a container has those of its image.
func (d *Docker) isRecord(c container.Summary) bool {
	return c.Labels[labelRecord] != "" && c.Labels[labelResource] == "" && strings.HasPrefix(nameOf(c), d.recordPrefix())
}

// ledgerOf picks the records from a listing. The newest whole one counts.
func (d *Docker) ledgerOf(list []container.Summary) ledger {
	var l ledger
	for _, c := range list {
		if !d.isRecord(c) {
			continue
		}
		label := c.Labels[labelRecord]
		r := recordContainer{id: c.ID, name: nameOf(c)}
		r.sealed, r.whole = unseal(label)
		r.revision, _ = strconv.ParseInt(strings.TrimPrefix(r.name, d.recordPrefix()), 10, 64)
		r.whole = r.whole && r.sealed.Record.Environment == d.cfg.Environment && r.sealed.Record.Target == d.cfg.Name
		l.found = append(l.found, r)
	}
	slices.SortFunc(l.found, func(a, b recordContainer) int {
		return int(max(-1, min(1, max(b.revision, b.sealed.Revision)-max(a.revision, a.sealed.Revision))))
	})
	for _, r := range l.found {
		if r.whole && r.sealed.Revision >= l.Revision {
			l.sealed, l.whole = r.sealed, true
		}
	}
	return l
}

// highest is the highest revision that any record bears or claims.
func (l ledger) highest() int64 {
	var most int64
	for _, r := range l.found {
		most = max(most, r.revision, r.sealed.Revision)
	}
	return most
}

// fence is the highest that the target has seen. Where no record can be believed
// it is what the containers say that were made under one.
func (l ledger) fence(ours []container.Summary) int64 {
	if l.whole {
		return l.Record.Fence
	}
	var most int64
	for _, c := range ours {
		n, err := strconv.ParseInt(c.Labels[labelFence], 10, 64)
		if err == nil {
			most = max(most, n)
		}
	}
	return most
}

// readLedger asks the engine for the records alone, and for the containers' own
// fences only where there is none to believe.
func (d *Docker) readLedger(ctx context.Context) (ledger, int64, error) {
	list, err := d.list(ctx, d.mine().Add("label", labelRecord))
	if err != nil {
		return ledger{}, 0, fmt.Errorf("read the record of %s: %w", d.cfg.Name, err)
	}
	l := d.ledgerOf(list)
	if l.whole {
		return l, l.Record.Fence, nil
	}
	if list, err = d.list(ctx, d.mine()); err != nil {
		return ledger{}, 0, fmt.Errorf("read the fence of %s: %w", d.cfg.Name, err)
	}
	return l, l.fence(list), nil
}

// gate refuses to go on once somebody with a higher fence was there. Every effect
// passes it.
func (d *Docker) gate(ctx context.Context, fence int64) error {
	_, seen, err := d.readLedger(ctx)
	if err != nil {
		return err
	}
	return d.checkFence(fence, seen)
}

func (d *Docker) checkFence(fence, seen int64) error {
	if fence < seen {
		return fmt.Errorf("%w: target %s has seen fence %d, this is %d", stella.ErrFenced, d.cfg.Name, seen, fence)
	}
	return nil
}

// raise refuses a stale fence and puts a higher one down.
func (d *Docker) raise(ctx context.Context, fence int64) error {
	l, seen, err := d.readLedger(ctx)
	if err != nil {
		return err
	}
	if err := d.checkFence(fence, seen); err != nil {
		return err
	}
	if l.whole && l.Record.Fence == fence && len(l.found) == 1 {
		return nil
	}
	return d.writeRecord(ctx, fence, func(*record) {})
}

// writeRecord writes the record with a change, under a fence. A revision's name
// is unique on the engine, so two who write at a time do not both get it: one is
// told, reads again and passes the fence again. The old record goes last. A crash
// before that leaves two, of which the newer counts; the next write removes both.
func (d *Docker) writeRecord(ctx context.Context, fence int64, change func(*record)) error {
	const tries = 10
	for range tries {
		done, err := d.tryRecord(ctx, fence, change)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: write the record of %s: somebody else keeps writing it", stella.ErrConflict, d.cfg.Name)
}

func (d *Docker) tryRecord(ctx context.Context, fence int64, change func(*record)) (done bool, err error) {
	l, seen, err := d.readLedger(ctx)
	if err != nil {
		return false, err
	}
	if err := d.checkFence(fence, seen); err != nil {
		return false, err
	}
	r := l.Record
	r.SchemaVersion, r.Environment, r.Target, r.Machine, r.Fence = 1, d.cfg.Environment, d.cfg.Name, d.machine, fence
	change(&r)
	revision := l.highest() + 1
	id, err := d.under(fence).putRecord(ctx, revision, r)
	if errors.Is(err, stella.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write the record of %s: %w", d.cfg.Name, fault(err))
	}
	// Who was slow may have got the name of a revision that had come and gone:
	// only the highest one was written.
	now, _, err := d.readLedger(ctx)
	if err != nil {
		return false, err
	}
	if now.highest() > revision {
		return false, d.under(fence).removeContainer(ctx, id, d.recordPrefix()+strconv.FormatInt(revision, 10))
	}
	for _, old := range now.found {
		if old.id == id {
			continue
		}
		if err := d.under(fence).removeContainer(ctx, old.id, old.name); err != nil {
			return false, fmt.Errorf("remove the old record of %s: %w", d.cfg.Name, err)
		}
	}
	return true, nil
}

// putRecord makes the container of a record.
func (d hand) putRecord(ctx context.Context, revision int64, r record) (id string, err error) {
	labels := d.identity()
	if labels[labelRecord], err = seal(revision, r); err != nil {
		return "", err
	}
	options := client.ContainerCreateOptions{
		Name: d.recordPrefix() + strconv.FormatInt(revision, 10),
		Config: &container.Config{
			Image: recordImage, Cmd: []string{"never-started"}, NetworkDisabled: true,
			Labels: labels,
		},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	}
	create := func() error {
		return d.effect(ctx, "record", options.Name, callTime, func(ctx context.Context) error {
			res, err := d.api.ContainerCreate(ctx, options)
			id = res.ID
			return err
		})
	}
	err = create()
	if errors.Is(err, stella.ErrNotFound) {
		if err = d.importRecordImage(ctx); err == nil {
			err = create()
		}
	}
	return id, err
}

func (d hand) importRecordImage(ctx context.Context) error {
	return d.effect(ctx, "import", recordImage, callTime, func(ctx context.Context) (err error) {
		empty := bytes.NewReader(make([]byte, 1024)) // the end of an archive
		res, err := d.api.ImageImport(ctx, client.ImageImportSource{Source: empty, SourceName: "-"}, "stella/record", client.ImageImportOptions{Tag: "1", Changes: []string{"LABEL " + labelRecordImage + "=1"}})
		if err != nil {
			return fmt.Errorf("import the record's image: %w", fault(err))
		}
		_, err = io.Copy(io.Discard, io.LimitReader(res, 1<<20))
		if closeErr := res.Close(); err == nil {
			err = closeErr
		}
		return err
	})
}

func nameOf(c container.Summary) string {
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") { // others are links
			return safe.Line(name)
		}
	}
	return ""
}
