package configrepo

import (
	"context"
	"errors"
	"fmt"

	stella "github.com/stella-ops/stella"
)

// Desired is what a commit wants of every target of an environment.
type Desired struct {
	Environment stella.EnvName
	Release     stella.Release
	Targets     []TargetState // in the environment's order
	// Waits holds, for each target that has to come after others, those others
	// in the environment's order: a service of it depends on a service that
	// runs only there. It has no cycles; see Waves.
	Waits map[string][]string
	// Artifacts are the images of all targets, sorted and unique.
	Artifacts []stella.Artifact
	// Notes are for people: what was read and left out, and why.
	Notes []string
	// Digest is of the canonical JSON of all targets: equal for equal content,
	// whatever the machine.
	Digest stella.Digest
}

// TargetState is what one target should run.
type TargetState struct {
	Name  string
	State stella.State
}

// Target returns the desired state of the target with the name.
func (d *Desired) Target(name string) (stella.State, bool) {
	for _, t := range d.Targets {
		if t.Name == name {
			return t.State, true
		}
	}
	return stella.State{}, false
}

// Waves returns the targets in the order in which they may be changed: those of
// one wave wait for nothing in it, nor for anything after it. Within a wave
// they have the environment's order.
func (d *Desired) Waves() [][]string {
	targets := make([]string, 0, len(d.Targets))
	for _, t := range d.Targets {
		targets = append(targets, t.Name)
	}
	order, left := waves(targets, d.Waits)
	if len(left) > 0 { // not of ours: Render refuses it
		order = append(order, left)
	}
	return order
}

// Render returns what an environment's app, at this tree and with this release,
// wants of each target. It is deterministic: equal trees give equal results,
// whatever the machine, its environment and its clock; overrides are applied
// whether or not they have ended. What is wrong with the app is reported as
// Problems, all that can be found at once; other errors are the tree's, or of
// the private directory in which Compose files are loaded.
func Render(ctx context.Context, t Tree, p *Project, e *Environment, r *ReleaseFile) (*Desired, error) {
	files, err := ReadFiles(ctx, t, append([]string{AppPath(p, e.Name)}, e.Shared...)...)
	if err != nil {
		return nil, fmt.Errorf("read the app of %s: %w", e.Name, err)
	}
	scratch, err := newScratch()
	if err != nil {
		return nil, err
	}
	re := newRenderer(p, e, r, files, scratch)
	d, err := re.render(ctx)
	if err = errors.Join(err, scratch.Close()); err != nil {
		return nil, err
	}
	return d, nil
}
