package artifact

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Depth says how far an inspection goes.
type Depth int

// The depths of an inspection.
const (
	Described Depth = iota // manifests and configurations are read
	Sized                  // the registry is also asked for every layer, with its size
	Hashed                 // every layer is also read, and compared with its digest; nothing of it is kept
)

// Look says how to inspect an image. The zero value describes it.
type Look struct {
	Depth Depth
	// Needed says for which platforms the image must be whole. It is called once,
	// with the digest where that could be found. None, or nil, means all that the
	// image is for.
	Needed func(context.Context, stella.Artifact) []Platform
}

// Verdict is whether an image is there.
type Verdict string

// The verdicts. The empty one means that nobody looked closely enough, and that
// nothing was found to be missing.
const (
	VerdictAvailable Verdict = "available" // every part that is needed
	VerdictMissing   Verdict = "missing"   // a part is not there, or not what its digest says
	VerdictUnknown   Verdict = "unknown"   // a part could not be asked for
)

// Inspection is what a registry tells of an image. Its texts come from whoever
// built the image; they are printable, and bounded.
type Inspection struct {
	Artifact  stella.Artifact `json:"artifact"`  // with its digest, where that could be found
	MediaType string          `json:"mediaType"` // of the manifest or index
	SizeBytes int64           `json:"sizeBytes"` // manifests, configurations and layers of all platforms, each once, compressed
	Platforms []string        `json:"platforms"` // that it is for: "linux/amd64"
	// Created and Labels are those of the first image that is needed and says
	// something; zero and empty where none does.
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels"`
	Images  []PlatformImage   `json:"images"` // one for each platform, in the order of the index
	// Attestations are the manifests of an index that are for no platform.
	Attestations []Attached `json:"attestations"`
	// Referrers are what names the image as its subject: signatures, lists of parts.
	Referrers      []Attached `json:"referrers"`
	ReferrersError string     `json:"referrersError"` // why they, or the rest of them, are not known; empty where they are
	Verdict        Verdict    `json:"verdict"`
	Missing        []Missing  `json:"missing"` // of the images that are needed, in manifest order
}

// PlatformImage is the image of one platform.
type PlatformImage struct {
	Platform  string        `json:"platform"`  // empty where an image says nothing
	Digest    stella.Digest `json:"digest"`    // of its manifest
	SizeBytes int64         `json:"sizeBytes"` // what a pull would fetch, compressed; 0 where the manifest can not be read
	Layers    int           `json:"layers"`
	Created   time.Time     `json:"created"` // zero where it says nothing
	Needed    bool          `json:"needed"`  // the verdict counts it
	Error     string        `json:"error"`   // why it can not be read, in words; empty where it can
}

// Attached is a manifest that belongs to an image and is none to run.
type Attached struct {
	Digest    stella.Digest `json:"digest"`
	Type      string        `json:"type"`      // what it is: "application/spdx+json", "attestation-manifest"; may be empty
	SizeBytes int64         `json:"sizeBytes"` // of the manifest
	Subject   stella.Digest `json:"subject"`   // what it is about
}

// Inspect describes an image and, where asked for, proves that every part of it
// is there. What is attached to it is told, and does not count.
//
// The error is nil where nothing that is needed was found wanting; otherwise it
// is of the classes of [Client], and the inspection holds what was found out.
func (c *Client) Inspect(ctx context.Context, a stella.Artifact, look Look) (Inspection, error) {
	most := c.cfg.Timeout
	if look.Depth == Hashed {
		most = c.cfg.PullTimeout
	}
	ctx, cancel := within(ctx, most)
	defer cancel()
	n := &inspector{what: "check " + a.String(), look: look, result: Inspection{
		Artifact: a, Platforms: []string{}, Labels: map[string]string{},
		Images: []PlatformImage{}, Attestations: []Attached{}, Referrers: []Attached{}, Missing: []Missing{},
	}}
	var err error
	if n.s, err = c.session(a); err != nil {
		return n.result, err
	}
	if err = n.inspect(ctx); err == nil && look.Depth > Described {
		n.result.Verdict = VerdictAvailable
	}
	if err != nil {
		n.result.Verdict = verdictOf(err)
	}
	return n.result, err
}

// verdictOf says what an error means for whoever wants the image.
func verdictOf(err error) Verdict {
	if isCertain(err) {
		return VerdictMissing
	}
	return VerdictUnknown
}

// inspector is one inspection while it is made.
type inspector struct {
	s      *session
	what   string
	look   Look
	result Inspection
}

// part is the image of one platform while it is looked at.
type part struct {
	descriptor

	manifest *manifest // nil where it is not there
	needed   bool
	err      error // why manifest or configuration is not there

	// What the configuration says. It is not kept whole: an index may have very
	// many, and each may be large.
	platform string
	created  time.Time
	labels   map[string]string
}

func (n *inspector) inspect(ctx context.Context) error {
	r := &n.result
	top, err := n.s.manifest(ctx, n.what, reference(r.Artifact), nil)
	if err != nil {
		n.needed(ctx) // who asks wants to know who uses it all the same
		r.Missing = append(r.Missing, n.missing(r.Artifact.Digest, "manifest", err))
		return err
	}
	r.Artifact.Digest, r.MediaType = top.digest, string(top.mediaType)
	parts, errs := n.parts(top, n.needed(ctx))
	n.read(ctx, top, parts)
	for i := range parts {
		errs = append(errs, n.tell(top, &parts[i]))
	}
	n.sum(top, parts)
	if n.look.Depth > Described {
		errs = append(errs, n.prove(ctx, parts)...)
	}
	n.attached(ctx, top)
	return worst(errs)
}

func (n *inspector) needed(ctx context.Context) []Platform {
	if n.look.Needed == nil {
		return nil
	}
	return n.look.Needed(ctx, n.result.Artifact)
}

// parts are the images of all platforms, with those marked that are needed. The
// errors are platforms that it is not for.
func (n *inspector) parts(top *manifest, needed []Platform) (parts []part, errs []error) {
	if !top.isIndex() {
		self := part{descriptor: descriptor{Digest: top.digest, Size: top.size, MediaType: top.mediaType}, manifest: top, needed: true}
		return []part{self}, nil
	}
	for _, d := range top.children {
		if d.forPlatform() {
			parts = append(parts, part{descriptor: d, needed: len(needed) == 0})
		}
	}
	for _, p := range needed {
		d, err := top.child(p)
		if err != nil {
			err = describe(n.what, err, nil, 1)
			n.result.Missing = append(n.result.Missing, n.missing(top.digest, "platform", err))
			errs = append(errs, err)
			continue
		}
		for i := range parts {
			parts[i].needed = parts[i].needed || parts[i].Digest == d.Digest
		}
	}
	return parts, errs
}

// read fetches manifests and configurations.
func (n *inspector) read(ctx context.Context, top *manifest, parts []part) {
	var g errgroup.Group
	g.SetLimit(parallel)
	for i := range parts {
		g.Go(func() error {
			parts[i].err = n.readPart(ctx, top, &parts[i])
			return nil
		})
	}
	_ = g.Wait() // errors stay with their parts
}

func (n *inspector) readPart(ctx context.Context, top *manifest, p *part) error {
	if p.manifest == nil {
		if err := checkDescriptor(p.descriptor, "manifest", n.s.client.cfg.Limits.ManifestBytes); err != nil {
			return describe(n.what, err, nil, 1)
		}
		m, err := n.s.manifest(ctx, n.what+": manifest of "+safe.Clip(p.Platform.platform().String(), 40), string(p.Digest), &p.descriptor)
		if err != nil {
			return err
		}
		if m.isIndex() {
			return describe(n.what, problem(stella.ErrInvalid, "%s is an index, and %s says it is an image", m.digest.Short(), top.digest.Short()), nil, 1)
		}
		for i := range m.layers {
			m.layers[i].Annotations = nil
		}
		p.manifest = m
	}
	file, err := n.s.config(ctx, n.what+": configuration "+p.manifest.config.Digest.Short(), p.manifest)
	if err != nil {
		return err
	}
	p.created, p.labels = file.created(), labels(file.Config.Labels)
	if file.OS != "" {
		p.platform = safe.Clip(file.platform().String(), 40)
	}
	return nil
}

// tell adds one image to the result, and returns what is wrong with it where it
// is needed.
func (n *inspector) tell(top *manifest, p *part) error {
	r := &n.result
	i := PlatformImage{Platform: p.platform, Digest: p.Digest, Created: p.created, Needed: p.needed}
	if top.isIndex() {
		i.Platform = safe.Clip(p.Platform.platform().String(), 40)
	}
	if i.Platform != "" && !slices.Contains(r.Platforms, i.Platform) {
		r.Platforms = append(r.Platforms, i.Platform)
	}
	if m := p.manifest; m != nil {
		i.Layers, i.SizeBytes = len(m.layers), sizeOf(map[stella.Digest]bool{}, m)
	}
	if p.needed && r.Created.IsZero() {
		r.Created = p.created
	}
	if p.needed && len(r.Labels) == 0 && len(p.labels) > 0 {
		r.Labels = p.labels
	}
	if p.err != nil {
		i.Error = safe.Clip(p.err.Error(), maxReasonRunes)
	}
	r.Images = append(r.Images, i)
	if p.err == nil || !p.needed {
		return nil
	}
	lost, kind := p.Digest, "manifest"
	if p.manifest != nil {
		lost, kind = p.manifest.config.Digest, "config"
	}
	r.Missing = append(r.Missing, n.missing(lost, kind, p.err))
	return p.err
}

// sum adds up what all platforms take, each part once.
func (n *inspector) sum(top *manifest, parts []part) {
	seen := map[stella.Digest]bool{}
	if top.isIndex() {
		n.result.SizeBytes, seen[top.digest] = top.size, true
	}
	for _, p := range parts {
		if p.manifest != nil {
			n.result.SizeBytes += sizeOf(seen, p.manifest)
		}
	}
}

// sizeOf is what an image adds to what was seen.
func sizeOf(seen map[stella.Digest]bool, m *manifest) (bytes int64) {
	self := descriptor{Digest: m.digest, Size: m.size}
	for _, d := range slices.Concat([]descriptor{self, m.config}, m.layers) {
		if !seen[d.Digest] {
			seen[d.Digest], bytes = true, bytes+d.Size
		}
	}
	return bytes
}

// prove looks for each layer of the images that are needed.
func (n *inspector) prove(ctx context.Context, parts []part) []error {
	var layers []descriptor
	for _, p := range parts {
		if p.needed && p.manifest != nil {
			layers = append(layers, p.manifest.layers...)
		}
	}
	layers = unique(layers)
	errs := n.s.probe(ctx, n.what, layers, n.look.Depth)
	for i, err := range errs {
		if err != nil {
			n.result.Missing = append(n.result.Missing, n.missing(layers[i].Digest, "layer", err))
		}
	}
	return errs
}

// missing is a part that was not found, in words that do not name the image again.
func (n *inspector) missing(d stella.Digest, kind string, err error) Missing {
	m := missing(d, kind, err)
	m.Error = strings.TrimPrefix(m.Error, n.what+": ")
	return m
}

// The bounds of the labels that are told.
const (
	maxLabels     = 128
	maxLabelRunes = 1024
)

// labels returns an image's labels, printable, the first by name where there are
// too many.
func labels(of map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(of))[:min(len(of), maxLabels)] {
		out[safe.Clip(name, maxMessageRunes)] = safe.Clip(of[name], maxLabelRunes)
	}
	return out
}

// attached tells what belongs to the image.
func (n *inspector) attached(ctx context.Context, top *manifest) {
	r := &n.result
	for _, d := range top.children {
		if !d.forPlatform() {
			r.Attestations = appendAttached(r.Attestations, d, stella.Digest(d.Annotations["vnd.docker.reference.digest"]))
		}
	}
	found, err := n.s.referrers(ctx, n.what+": referrers", top.digest)
	for _, d := range found {
		r.Referrers = appendAttached(r.Referrers, d, top.digest)
	}
	if err != nil {
		r.ReferrersError = safe.Clip(err.Error(), maxReasonRunes)
	}
}

// appendAttached adds a descriptor that names something by a digest that we
// know, and leaves any other out.
func appendAttached(all []Attached, d descriptor, subject stella.Digest) []Attached {
	if checkDescriptor(d, "manifest", 1<<40) != nil {
		return all
	}
	if _, err := stella.ParseDigest(string(subject)); err != nil {
		subject = ""
	}
	kind := cmp.Or(d.Annotations["vnd.docker.reference.type"], d.ArtifactType)
	return append(all, Attached{Digest: d.Digest, Type: safe.Clip(kind, 80), SizeBytes: d.Size, Subject: subject})
}
