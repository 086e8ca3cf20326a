package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/reconciler"
)

// machine is a target in memory that behaves: it keeps what was applied,
// refuses a stale fence, and runs what it was told, for better or worse.
type machine struct {
	mu      sync.Mutex
	state   stella.State
	sticker *stella.Sticker
	fence   int64
	since   time.Time
	starts  int

	down      bool            // nobody answers
	panics    string          // what has a defect: "open", "observe", "prepare" or "apply"
	sick      map[string]bool // images, by digest, whose health check fails
	failApply bool            // the next apply fails half way
	failAfter bool            // the next apply does all and fails at its end
	// failPrepare: the next preparation fails, and nothing was touched.
	failPrepare bool
	block       chan struct{} // Prepare waits for it
	prepared    func()        // told when Prepare begins
	stopping    func()        // told when Stop begins
	observing   func()        // told when Observe begins

	watched func() // who is told that something changed; nil for nobody
	blind   bool   // it can not be watched

	opened func() // told before it is opened; nil for nobody

	suspects []string // who else writes, as it says

	found     stella.State // what somebody else started there
	failAdopt bool         // the next adoption fails
	meddled   stella.State // what somebody makes of found once it was looked at

	keeps map[stella.Digest]bool // images that are still there, whole
	free  int64                  // bytes; 0 means that nobody can tell
}

func (m *machine) Has(_ context.Context, a stella.Artifact) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keeps[a.Digest], nil
}

func (m *machine) Space(context.Context) (int64, error) {
	if m.free == 0 {
		return 0, errors.New("the disk does not say")
	}
	return m.free, nil
}

func (m *machine) Watch(ctx context.Context, changed func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blind {
		return errors.New("no watches are left")
	}
	m.watched = changed
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.watched = nil
	})
	return nil
}

func (m *machine) Suspects(_ context.Context, id stella.ResourceID, path string) ([]string, error) {
	if len(m.suspects) == 0 {
		return nil, errors.New("there is no trace")
	}
	return append([]string{string(id) + path}, m.suspects...), nil
}

// defect panics in what the test says.
func (m *machine) defect(in string) {
	if m.panics == in {
		panic("index out of range in " + in)
	}
}

func (m *machine) Observe(context.Context) (stella.State, error) {
	m.mu.Lock()
	observing := m.observing
	m.mu.Unlock()
	if observing != nil {
		observing()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.defect("observe")
	if m.down {
		return stella.State{}, fmt.Errorf("machine is off: %w", stella.ErrUnreachable)
	}
	s := stella.State{Resources: append([]stella.Resource(nil), m.state.Resources...)}
	s.Observed = &stella.Observation{At: time.Now(), Fence: m.fence, Sticker: m.sticker, Machine: "machine"}
	for _, r := range s.Resources {
		if !strings.HasPrefix(string(r.ID), "service/") {
			continue
		}
		image, _ := r.Fields["image"].(string)
		a, _ := stella.ParseArtifact(image)
		c := stella.ComponentStatus{Name: string(r.ID)[len("service/"):], Running: image, State: stella.RunRunning, Health: stella.RunHealthHealthy, Since: m.since}
		if m.sick[string(a.Digest)] {
			c.Health, c.Detail = stella.RunHealthUnhealthy, "its check fails"
		}
		s.Observed.Components = append(s.Observed.Components, c)
	}
	return s, nil
}

func (m *machine) Prepare(ctx context.Context, _ stella.State, _ int64) error {
	m.mu.Lock()
	block, prepared, defect, fails := m.block, m.prepared, m.panics == "prepare", m.failPrepare
	m.failPrepare = false
	m.mu.Unlock()
	if fails {
		return errors.New("the disk is full")
	}
	if defect {
		panic("index out of range in prepare")
	}
	if prepared != nil {
		prepared()
	}
	if block == nil {
		return nil
	}
	select {
	case <-block:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *machine) Apply(_ context.Context, o stella.Order, report func(stella.Action, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.defect("apply")
	switch {
	case m.down:
		return fmt.Errorf("machine is off: %w", stella.ErrUnreachable)
	case o.Fence < m.fence:
		return fmt.Errorf("fence %d after %d: %w", o.Fence, m.fence, stella.ErrFenced)
	}
	m.fence = o.Fence
	for _, a := range o.Actions {
		if m.failApply {
			m.failApply = false
			m.state = stella.State{}
			err := errors.New("the disk is full")
			report(a, err)
			return err
		}
		m.starts++
		m.since = time.Now()
		m.do(a)
		report(a, nil)
	}
	if m.failAfter {
		m.failAfter = false
		return errors.New("the answer was lost")
	}
	m.sticker = &o.Sticker
	return nil
}

// do carries out one action, and touches nothing else.
func (m *machine) do(a stella.Action) {
	rest := slices.DeleteFunc(slices.Clone(m.state.Resources), func(r stella.Resource) bool { return r.ID == a.Resource.ID })
	if a.Op != stella.OpRemove {
		rest = append(rest, a.Resource)
	}
	slices.SortFunc(rest, func(a, b stella.Resource) int { return strings.Compare(string(a.ID), string(b.ID)) })
	m.state = stella.State{Resources: rest}
}

func (m *machine) Stop(context.Context, int64) error {
	m.mu.Lock()
	stopping := m.stopping
	m.mu.Unlock()
	if stopping != nil {
		stopping()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = stella.State{}
	return nil
}

func (m *machine) Remove(ctx context.Context, fence int64) error { return m.Stop(ctx, fence) }

// site is all machines of a test, by name.
type site map[string]*machine

func (s site) Open(_ context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	m, ok := s[spec.Target.Name]
	if !ok {
		return nil, fmt.Errorf("no machine %s: %w", spec.Target.Name, stella.ErrUnreachable)
	}
	if m.opened != nil {
		m.opened()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.defect("open")
	return m, nil
}

// shelf is a registry in memory: tag → digest, and what is missing.
type shelf struct {
	tags    map[string]stella.Digest
	missing map[stella.Digest]bool

	backup   string                 // empty: none
	copies   map[stella.Digest]bool // that the backup has
	says     map[string]error       // what a place says instead: "registry", "backup"
	size     int64                  // of every image
	restored []string               // digests, short
	needed   []artifact.Platform    // of what was inspected last
}

func (s *shelf) Resolve(_ context.Context, a stella.Artifact) (stella.Artifact, error) {
	if a.Digest == "" {
		d, ok := s.tags[a.Tag]
		if !ok {
			return a, fmt.Errorf("tag %s: %w", a.Tag, stella.ErrNotFound)
		}
		a.Digest = d
	}
	return a, nil
}

func (s *shelf) Check(_ context.Context, a stella.Artifact, _ ...artifact.Platform) (artifact.Report, error) {
	if err := s.says["registry"]; err != nil {
		return artifact.Report{}, err
	}
	if s.missing[a.Digest] {
		return artifact.Report{}, fmt.Errorf("manifest %s: %w", a.Digest.Short(), stella.ErrNotFound)
	}
	return artifact.Report{Available: true, SizeBytes: s.size}, nil
}

func (s *shelf) Inspect(ctx context.Context, a stella.Artifact, look artifact.Look) (artifact.Inspection, error) {
	a, err := s.Resolve(ctx, a)
	s.needed = look.Needed(ctx, a)
	if err == nil {
		_, err = s.Check(ctx, a)
	}
	return artifact.Inspection{Artifact: a}, err
}

func (s *shelf) Backup() string { return s.backup }

func (s *shelf) CheckBackup(_ context.Context, a stella.Artifact, _ ...artifact.Platform) (artifact.Report, error) {
	if err := s.says["backup"]; err != nil {
		return artifact.Report{}, err
	}
	if !s.copies[a.Digest] {
		return artifact.Report{}, fmt.Errorf("backup %s: manifest %s: %w", s.backup, a.Digest.Short(), stella.ErrNotFound)
	}
	return artifact.Report{Available: true, SizeBytes: s.size}, nil
}

func (s *shelf) Restore(_ context.Context, a stella.Artifact) error {
	s.restored = append(s.restored, a.Digest.Short())
	delete(s.missing, a.Digest)
	return nil
}

func (s *shelf) Pull(context.Context, stella.Artifact, artifact.Platform, string) (*artifact.Image, error) {
	return nil, stella.ErrUnsupported // machines in memory need no files
}
