package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// descriptor is the OCI content descriptor: what names a manifest or a blob.
type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      stella.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *jsonPlatform     `json:"platform"`
	Annotations map[string]string `json:"annotations"`
	// ArtifactType says what a referrer is.
	ArtifactType string `json:"artifactType"`
}

// forPlatform reports whether a child of an index is an image that something
// runs. Attestations, which have no platform that anything is, are not.
func (d descriptor) forPlatform() bool {
	return d.MediaType.IsImage() && d.Platform != nil && d.Platform.OS != "unknown"
}

type jsonPlatform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

func (p *jsonPlatform) platform() Platform {
	return Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// manifest is an image manifest or an index of them, verified and valid.
type manifest struct {
	digest    stella.Digest
	mediaType types.MediaType
	size      int64
	children  []descriptor // of an index
	config    descriptor   // of an image
	layers    []descriptor // of an image, lowest first
}

func (m *manifest) isIndex() bool { return m.mediaType.IsIndex() }

// maxChildren bounds an index. The largest of the official images have about
// thirty, with attestations.
const maxChildren = 1000

// manifest fetches the manifest that a reference (a tag or a digest) names. A
// digest is compared with what came; so is a descriptor that led here.
func (s *session) manifest(ctx context.Context, what, reference string, want *descriptor) (*manifest, error) {
	var m *manifest
	err := s.client.retry(ctx, what, func() error {
		raw, contentType, err := s.document(ctx, "manifests/"+reference)
		if err != nil {
			return err
		}
		m, err = s.client.parseManifest(raw, contentType)
		if err != nil {
			return err
		}
		return verifyManifest(m, reference, want)
	})
	return m, err
}

func verifyManifest(m *manifest, reference string, want *descriptor) error {
	switch {
	case strings.Contains(reference, ":") && string(m.digest) != reference:
		return problem(stella.ErrTampered, "the manifest has digest %s, not %s", m.digest, reference)
	case want != nil && m.size != want.Size:
		return problem(stella.ErrTampered, "the manifest has %d bytes, the index says %d", m.size, want.Size)
	case want != nil && m.mediaType != want.MediaType:
		return problem(stella.ErrInvalid, "the manifest is of type %s, the index says %s", m.mediaType, safe.Clip(string(want.MediaType), 80))
	}
	return nil
}

// document reads one small document, to its end.
func (s *session) document(ctx context.Context, path string) (raw []byte, contentType string, err error) {
	raw, header, err := s.small(ctx, path)
	return raw, header.Get("Content-Type"), err
}

// small is document with all headers of the answer.
func (s *session) small(ctx context.Context, path string) (raw []byte, answer http.Header, err error) {
	ctx, cancel := s.brief(ctx)
	defer cancel()
	most := s.client.cfg.Limits.ManifestBytes
	accept := []string{
		string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
	}
	header := http.Header{"Accept": {strings.Join(accept, ", ")}}
	resp, err := s.do(withBodyCap(ctx, most), http.MethodGet, path, header)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or of no use
	raw, err = io.ReadAll(resp.Body)
	// An answer that ends with its time may be cut, however cleanly it ends.
	if cause := ended(ctx); cause != nil {
		return nil, nil, cause
	}
	if err != nil {
		return nil, nil, s.fault(err)
	}
	return raw, resp.Header, nil
}

// parseManifest reads a manifest. It refuses what two readers could take for
// two things: a document that is index and image at once (CVE-2021-41190), keys
// that are there twice, a type that is not what the registry says.
func (c *Client) parseManifest(raw []byte, contentType string) (*manifest, error) {
	var doc struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     types.MediaType  `json:"mediaType"`
		Manifests     []descriptor     `json:"manifests"`
		Config        *descriptor      `json:"config"`
		Layers        []descriptor     `json:"layers"`
		FSLayers      *json.RawMessage `json:"fsLayers"`
	}
	keys, err := objectKeys(raw, "schemaVersion", "mediaType", "manifests", "config", "layers", "fsLayers")
	if err != nil {
		return nil, problem(stella.ErrInvalid, "the manifest is no clean JSON: %s", safe.Clip(err.Error(), 80))
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, problem(stella.ErrInvalid, "the manifest is no manifest: %s", safe.Clip(err.Error(), 80))
	}
	mediaType, err := agree(doc.MediaType, contentType)
	if err != nil {
		return nil, err
	}
	m := &manifest{
		digest: digest(raw), mediaType: mediaType, size: int64(len(raw)),
		children: doc.Manifests, layers: doc.Layers,
	}
	has := func(key string) bool { return slices.Contains(keys, key) }
	switch {
	case doc.SchemaVersion != 2:
		return nil, problem(stella.ErrUnsupported, "manifests of schema version %d", doc.SchemaVersion)
	case has("manifests") && (has("layers") || has("config") || has("fsLayers")):
		return nil, problem(stella.ErrInvalid, "the document is an index and an image at once")
	case m.isIndex() && has("manifests"):
		if len(m.children) > maxChildren {
			return nil, problem(stella.ErrInvalid, "an index of %d manifests", len(m.children))
		}
		return m, nil
	case mediaType.IsImage() && has("layers") && doc.Config != nil:
		m.config = *doc.Config
		return m, c.checkImage(m)
	}
	return nil, problem(stella.ErrInvalid, "the document is not the %s that it is said to be", mediaType)
}

func digest(data []byte) stella.Digest {
	sum := sha256.Sum256(data)
	return stella.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// agree returns the one type that document and registry give. OCI documents
// may leave it to the registry.
func agree(inside types.MediaType, header string) (types.MediaType, error) {
	outside := types.MediaType(header)
	if parsed, _, err := mime.ParseMediaType(header); err == nil {
		outside = types.MediaType(parsed)
	}
	switch {
	case inside == "":
		inside = outside
	case outside != "" && outside != inside:
		return "", problem(stella.ErrInvalid, "the manifest says that it is a %s, the registry a %s", safe.Clip(string(inside), 80), safe.Clip(header, 80))
	}
	switch inside {
	case types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2:
		return inside, nil
	}
	return "", problem(stella.ErrUnsupported, "manifests of type %s", safe.Clip(string(inside), 80))
}

func (c *Client) checkImage(m *manifest) error {
	limits := c.cfg.Limits
	if err := checkDescriptor(m.config, "configuration", limits.ManifestBytes); err != nil {
		return err
	}
	if t := m.config.MediaType; t != types.OCIConfigJSON && t != types.DockerConfigJSON {
		return problem(stella.ErrUnsupported, "this is no image that can run: its configuration is of type %s", safe.Clip(string(t), 80))
	}
	if len(m.layers) > limits.Layers {
		return problem(stella.ErrInvalid, "%d layers, more than %d", len(m.layers), limits.Layers)
	}
	var total int64
	for i, d := range m.layers {
		if err := checkDescriptor(d, "layer", limits.BlobBytes); err != nil {
			return err
		}
		if _, err := compressionOf(d.MediaType); err != nil {
			return err
		}
		if total += d.Size; total > limits.ImageBytes {
			return problem(stella.ErrInvalid, "layers of more than %d bytes, at layer %d", limits.ImageBytes, i+1)
		}
	}
	return nil
}

func checkDescriptor(d descriptor, kind string, most int64) error {
	if _, err := stella.ParseDigest(string(d.Digest)); err != nil {
		return problem(stella.ErrInvalid, "%s: the digest is no sha256: %q", kind, safe.Clip(string(d.Digest), 80))
	}
	if d.Size < 0 || d.Size > most {
		return problem(stella.ErrInvalid, "%s %s has %d bytes, allowed are %d", kind, d.Digest.Short(), d.Size, most)
	}
	return nil
}

// objectKeys returns the keys of a JSON object. It refuses one that has a key
// twice, at any depth, and at the top one that differs from another or from a
// known key in case only: encoding/json takes either.
func objectKeys(raw []byte, known ...string) ([]string, error) {
	keys, err := uniqueKeys(json.NewDecoder(strings.NewReader(string(raw))))
	if err != nil {
		return nil, err
	}
	for _, want := range known {
		if slices.ContainsFunc(keys, func(k string) bool { return k != want && strings.EqualFold(k, want) }) {
			return nil, errors.New("a key in the wrong case, like " + want)
		}
	}
	return keys, nil
}

// maxJSONDepth is far more than a manifest or a configuration has.
const maxJSONDepth = 32

// uniqueKeys reads one JSON object and returns the keys at its top.
func uniqueKeys(d *json.Decoder) ([]string, error) {
	type level struct {
		keys   map[string]bool // nil in an array
		isName bool            // the next string is a key
	}
	var (
		stack []level
		top   []string
	)
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		at := len(stack) - 1
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			if stack = stack[:at]; at == 0 {
				return top, nil
			}
			continue
		}
		if at >= 0 && stack[at].keys != nil {
			key, isString := token.(string)
			if stack[at].isName && isString {
				if stack[at].keys[key] {
					return nil, errors.New("a key is there twice")
				}
				stack[at].keys[key], stack[at].isName = true, false
				if at == 0 {
					top = append(top, key)
				}
				continue
			}
			stack[at].isName = true // after this value
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}, isName: true})
		case json.Delim('['):
			stack = append(stack, level{})
		}
		if len(stack) == 0 {
			return nil, errors.New("not an object")
		}
		if len(stack) > maxJSONDepth {
			return nil, errors.New("too deep")
		}
	}
}
