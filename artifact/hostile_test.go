package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

type tarEntry struct {
	name, link, body string
	kind             byte
	mode             int64
}

func archiveOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.body)), Format: tar.FormatPAX}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.mode != 0 {
			h.Mode = e.mode
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipOf(t testing.TB, data []byte) []byte { return gzipLevel(t, data, gzip.BestSpeed) }

func gzipLevel(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstdOf(t testing.TB, data []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// rawLayer is a layer whose diff id may be anything.
type rawLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l rawLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// layerOf is a layer of packed bytes as they are, with the diff id of what they
// unpack to.
func layerOf(t testing.TB, mediaType types.MediaType, packed []byte) rawLayer {
	t.Helper()
	unpacked := packed
	switch mediaType {
	case types.OCILayer, types.DockerLayer:
		if r, err := gzip.NewReader(bytes.NewReader(packed)); err == nil {
			unpacked, _ = io.ReadAll(r) // of damaged ones what there is
		}
	case types.OCILayerZStd:
		if d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(1<<30)); err == nil {
			unpacked, _ = d.DecodeAll(packed, nil)
		}
	}
	d, _, err := v1.SHA256(bytes.NewReader(unpacked))
	if err != nil {
		t.Fatal(err)
	}
	return rawLayer{static.NewLayer(packed, mediaType), d}
}

func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	base, err := registry.Build{}.Image()
	if err != nil {
		t.Fatal(err)
	}
	file, err := base.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	base, err = mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), file)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		mt, err := l.MediaType()
		if err != nil {
			t.Fatal(err)
		}
		if base, err = mutate.Append(base, mutate.Addendum{Layer: l, MediaType: mt}); err != nil {
			t.Fatal(err)
		}
	}
	return mutate.ConfigMediaType(base, types.OCIConfigJSON)
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLayersThatLie is R05 and R08 as far as the image itself is at fault: all
// digests that a registry checks are right.
func TestLayersThatLie(t *testing.T) {
	small := archiveOf(t, tarEntry{name: "a", body: "x"})
	zeros := make([]byte, 40<<20)
	bomb := archiveOf(t, tarEntry{name: "zeros", body: string(zeros)})
	noise := []byte(strings.Repeat("not an archive. ", 64))
	wrongDiff := layerOf(t, types.OCILayer, gzipOf(t, small))
	wrongDiff.diffID.Hex = strings.Repeat("0", 64)
	var many []tarEntry
	for i := range 300 {
		many = append(many, tarEntry{name: fmt.Sprintf("f%d", i)})
	}
	var layers []v1.Layer
	for range 9 {
		layers = append(layers, layerOf(t, types.OCILayer, gzipOf(t, small)))
	}
	one := func(mt types.MediaType, packed []byte) []v1.Layer { return []v1.Layer{layerOf(t, mt, packed)} }
	for name, c := range map[string]struct {
		layers []v1.Layer
		limits artifact.Limits
		want   error // nil: accepted
	}{
		"gzip is read":                            {one(types.OCILayer, gzipOf(t, small)), artifact.Limits{}, nil},
		"Docker's gzip is read":                   {one(types.DockerLayer, gzipOf(t, small)), artifact.Limits{}, nil},
		"zstd is read":                            {one(types.OCILayerZStd, zstdOf(t, small)), artifact.Limits{}, nil},
		"a plain archive is read":                 {one(types.OCIUncompressedLayer, small), artifact.Limits{}, nil},
		"several gzip members are read":           {one(types.OCILayer, append(gzipOf(t, small[:512]), gzipOf(t, small[512:])...)), artifact.Limits{}, nil},
		"zstd with a skippable frame is read":     {one(types.OCILayerZStd, append(zstdOf(t, small), 0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x')), artifact.Limits{}, nil},
		"no layers are fine":                      {nil, artifact.Limits{}, nil},
		"an empty archive is fine":                {one(types.OCILayer, gzipOf(t, make([]byte, 1024))), artifact.Limits{}, nil},
		"the same layer twice is fine":            {append(one(types.OCILayer, gzipOf(t, small)), one(types.OCILayer, gzipOf(t, small))...), artifact.Limits{}, nil},
		"another diff id":                         {[]v1.Layer{wrongDiff}, artifact.Limits{}, stella.ErrTampered},
		"garbage after the end of the archive":    {one(types.OCILayer, gzipOf(t, append(slices.Clip(small), "evil"...))), artifact.Limits{}, stella.ErrInvalid},
		"a second archive after the end":          {one(types.OCILayer, gzipOf(t, append(slices.Clip(small), small...))), artifact.Limits{}, stella.ErrInvalid},
		"garbage after the gzip stream":           {one(types.OCILayer, append(gzipOf(t, small), "evil"...)), artifact.Limits{}, stella.ErrInvalid},
		"garbage after the zstd stream":           {one(types.OCILayerZStd, append(zstdOf(t, small), "evil evil"...)), artifact.Limits{}, stella.ErrInvalid},
		"a cut gzip stream":                       {one(types.OCILayer, gzipOf(t, small)[:20]), artifact.Limits{}, stella.ErrInvalid},
		"a damaged gzip checksum":                 {one(types.OCILayer, damage(gzipOf(t, small))), artifact.Limits{}, stella.ErrInvalid},
		"something that is no archive":            {one(types.OCILayer, gzipOf(t, noise)), artifact.Limits{}, stella.ErrInvalid},
		"an archive that is cut":                  {one(types.OCILayer, gzipOf(t, small[:400])), artifact.Limits{}, stella.ErrInvalid},
		"gzip that is said to be zstd":            {one(types.OCILayerZStd, gzipOf(t, small)), artifact.Limits{}, stella.ErrInvalid},
		"a plain archive that is said to be gzip": {one(types.OCILayer, small), artifact.Limits{}, stella.ErrInvalid},
		"a foreign layer":                         {one(types.DockerForeignLayer, gzipOf(t, small)), artifact.Limits{}, stella.ErrUnsupported},
		"an unknown kind of layer":                {one("application/vnd.acme.layer", gzipOf(t, small)), artifact.Limits{}, stella.ErrUnsupported},
		"a gzip bomb":                             {one(types.OCILayer, gzipOf(t, bomb)), artifact.Limits{}, stella.ErrInvalid},
		"a zstd bomb":                             {one(types.OCILayerZStd, zstdOf(t, bomb)), artifact.Limits{}, stella.ErrInvalid},
		"a zstd window of 128 MiB":                {one(types.OCILayerZStd, windowBomb()), artifact.Limits{}, stella.ErrInvalid},
		"too many entries":                        {one(types.OCILayer, gzipOf(t, archiveOf(t, many...))), artifact.Limits{Entries: 200}, stella.ErrInvalid},
		"too many layers":                         {layers, artifact.Limits{Layers: 8}, stella.ErrInvalid},
		"layers that unpack to too much":          {layers, artifact.Limits{UncompressedBytes: 8 * 2048}, stella.ErrInvalid},
		"a layer that is too large":               {one(types.OCILayer, gzipOf(t, small)), artifact.Limits{BlobBytes: 50}, stella.ErrInvalid},
		"layers that are too large":               {layers, artifact.Limits{ImageBytes: 500}, stella.ErrInvalid},
		"a name that climbs":                      {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "../x"}))), artifact.Limits{}, stella.ErrInvalid},
		"a name with an escape sequence":          {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a\x1b[2Jb"}))), artifact.Limits{}, stella.ErrInvalid},
		"a root that is a symbolic link":          {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: ".", kind: tar.TypeSymlink, link: "/tmp"}))), artifact.Limits{}, stella.ErrInvalid},
		"a hard link to nothing":                  {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "h", kind: tar.TypeLink, link: "/etc/passwd"}))), artifact.Limits{}, stella.ErrInvalid},
		"a hard link to a directory":              {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "d/", kind: tar.TypeDir}, tarEntry{name: "h", kind: tar.TypeLink, link: "d"}))), artifact.Limits{}, stella.ErrInvalid},
		"a hard link to itself":                   {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "h"}, tarEntry{name: "h", kind: tar.TypeLink, link: "h"}))), artifact.Limits{}, stella.ErrInvalid},
		"a file below a file":                     {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "f"}, tarEntry{name: "f/x"}))), artifact.Limits{}, stella.ErrInvalid},
		"links in circles":                        {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "l", kind: tar.TypeSymlink, link: "l"}, tarEntry{name: "l/x"}))), artifact.Limits{}, stella.ErrInvalid},
		"a whiteout of nothing":                   {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a/.wh."}))), artifact.Limits{}, stella.ErrInvalid},
		"a whiteout that climbs":                  {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a/.wh..."}))), artifact.Limits{}, stella.ErrInvalid},
		"a whiteout that is a directory":          {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: ".wh.a/b"}))), artifact.Limits{}, stella.ErrInvalid},
		"a whiteout of a whiteout":                {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a/.wh..wh.b"}))), artifact.Limits{}, stella.ErrInvalid},
		"entries of an unknown type":              {one(types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a", kind: 'Z'}))), artifact.Limits{}, stella.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			a := l.push(memoryHost, "1", imageOf(t, c.layers...))
			img, err := pull(t, l.client(artifact.Config{Limits: c.limits}), a)
			if c.want != nil {
				wantClass(t, err, c.want)
				if err != nil && strings.Contains(err.Error(), "tried") {
					t.Errorf("%v: tried again for nothing", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			files(t, img)
		})
	}
}

func damage(data []byte) []byte {
	data[len(data)-6] ^= 1
	return data
}

// windowBomb is the header of a zstd frame that asks for 128 MiB (RFC 8878,
// 3.1.1.1.2), and one empty block.
func windowBomb() []byte {
	const exponent = 17 << 3 // 2^(10+17)
	return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent, 0x01, 0x00, 0x00}
}

func TestAWindowBombTakesNoMemory(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", imageOf(t, layerOf(t, types.OCILayerZStd, windowBomb())))
	c := l.client(artifact.Config{})
	if got := allocated(func() { _, _ = pull(t, c, a) }); got > 8<<20 {
		t.Errorf("%d bytes", got)
	}
}

// TestManifestsThatLie is R07.
func TestManifestsThatLie(t *testing.T) {
	image := imageOf(t, layerOf(t, types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a"}))))
	rawManifest, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(m map[string]any)) []byte {
		var m map[string]any
		if err := json.Unmarshal(rawManifest, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	text := func(old, with string) []byte {
		if !strings.Contains(string(rawManifest), old) {
			t.Fatalf("no %s in %s", old, rawManifest)
		}
		return []byte(strings.Replace(string(rawManifest), old, with, 1))
	}
	const oci, index = string(types.OCIManifestSchema1), string(types.OCIImageIndex)
	for name, c := range map[string]struct {
		contentType string
		doc         []byte
		want        error
	}{
		"the manifest as it is":         {oci, rawManifest, nil},
		"a charset in the content type": {oci + "; charset=utf-8", rawManifest, nil},
		"no type inside":                {oci, change(func(m map[string]any) { delete(m, "mediaType") }), nil},
		"an index and an image at once": {oci, change(func(m map[string]any) { m["manifests"] = []any{} }), stella.ErrInvalid},
		"an index with a configuration": {index, []byte(`{"schemaVersion":2,"manifests":[],"config":{}}`), stella.ErrInvalid},
		"another type outside":          {string(types.DockerManifestSchema2), rawManifest, stella.ErrInvalid},
		"an image said to be an index":  {index, change(func(m map[string]any) { m["mediaType"] = index }), stella.ErrInvalid},
		"an index said to be an image":  {oci, []byte(`{"schemaVersion":2,"manifests":[]}`), stella.ErrInvalid},
		"an image without layers":       {oci, change(func(m map[string]any) { delete(m, "layers") }), stella.ErrInvalid},
		"no type at all":                {"", change(func(m map[string]any) { delete(m, "mediaType") }), stella.ErrUnsupported},
		"a type that nobody knows":      {"text/html", []byte("<html>"), stella.ErrInvalid},
		"an old schema":                 {string(types.DockerManifestSchema1), []byte(`{"schemaVersion":1,"fsLayers":[]}`), stella.ErrUnsupported},
		"a schema of the future":        {oci, change(func(m map[string]any) { m["schemaVersion"] = 3 }), stella.ErrUnsupported},
		"a key twice":                   {oci, text(`"layers":`, `"layers":[],"layers":`), stella.ErrInvalid},
		"a key twice, deeper":           {oci, text(`"config":{`, `"config":{"size":1,`), stella.ErrInvalid},
		"a key twice in two cases":      {oci, text(`"layers":`, `"Layers":[],"layers":`), stella.ErrInvalid},
		"data after the document":       {oci, append(slices.Clip(rawManifest), "{}"...), stella.ErrInvalid},
		"an array":                      {oci, []byte(`[]`), stella.ErrInvalid},
		"null":                          {oci, []byte(`null`), stella.ErrInvalid},
		"nothing":                       {oci, nil, stella.ErrInvalid},
		"very deep":                     {oci, []byte(`{"a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`), stella.ErrInvalid},
		"a digest that is none":         {oci, change(func(m map[string]any) { m["config"].(map[string]any)["digest"] = "sha256:../../x" }), stella.ErrInvalid},
		"a digest of another kind":      {oci, change(func(m map[string]any) { m["config"].(map[string]any)["digest"] = "sha512:" + strings.Repeat("0", 128) }), stella.ErrInvalid},
		"a negative size":               {oci, change(func(m map[string]any) { m["config"].(map[string]any)["size"] = -1 }), stella.ErrInvalid},
		"a size beyond all numbers":     {oci, change(func(m map[string]any) { m["config"].(map[string]any)["size"] = 1e30 }), stella.ErrInvalid},
		"a configuration of another kind": {oci, change(func(m map[string]any) {
			m["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
		}), stella.ErrUnsupported},
		"a configuration of another size": {oci, change(func(m map[string]any) { m["config"].(map[string]any)["size"] = 7 }), stella.ErrTampered},
		"a layer of 10 GB":                {oci, change(func(m map[string]any) { m["layers"].([]any)[0].(map[string]any)["size"] = 10 << 30 }), stella.ErrInvalid},
		"more layers than diff ids":       {oci, change(func(m map[string]any) { ls := m["layers"].([]any); m["layers"] = append(ls, ls[0]) }), stella.ErrInvalid},
		"an index of nothing":             {index, []byte(`{"schemaVersion":2,"manifests":[]}`), stella.ErrUnsupported},
		"an index of 2,000":               {index, []byte(`{"schemaVersion":2,"manifests":[` + strings.Repeat(`{},`, 1999) + `{}]}`), stella.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.push(memoryHost, "1", image)
			a := l.rawAs(c.contentType, c.doc)
			_, err := pull(t, l.client(artifact.Config{}), a)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantClass(t, err, c.want)
		})
	}
}

// rawAs serves any document under its digest, whatever the registry would say
// to it.
func (l *lab) rawAs(contentType string, doc []byte) stella.Artifact {
	digest := digestOf(doc)
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/"+string(digest)) {
			return false
		}
		w.Header()["Content-Type"] = []string{contentType}
		if contentType == "" {
			w.Header()["Content-Type"] = nil
		}
		_, _ = w.Write(doc)
		return true
	})
	return stella.Artifact{Registry: memoryHost, Repository: "shop/api", Digest: digest}
}

// TestConfigurationsThatLie: the digest is right, the content is not.
func TestConfigurationsThatLie(t *testing.T) {
	layer := layerOf(t, types.OCILayer, gzipOf(t, archiveOf(t, tarEntry{name: "a"})))
	good := fmt.Sprintf(`{"os":%q,"architecture":%q,"rootfs":{"type":"layers","diff_ids":[%q]},"config":{}}`, artifact.Host().OS, artifact.Host().Architecture, layer.diffID)
	for name, c := range map[string]struct {
		doc  string
		want error
	}{
		"the configuration as it is":       {good, nil},
		"no platform":                      {strings.Replace(good, artifact.Host().OS, "", 1), nil},
		"a date that is none":              {strings.Replace(good, `{`, `{"created":"yesterday",`, 1), nil},
		"another platform":                 {strings.Replace(good, artifact.Host().OS, "plan9", 1), stella.ErrUnsupported},
		"a platform with escape sequences": {strings.Replace(good, artifact.Host().OS, `p\u001b[2J`, 1), stella.ErrUnsupported},
		"a diff id that is none":           {strings.Replace(good, layer.diffID.String(), "sha256:x", 1), stella.ErrInvalid},
		"no diff ids":                      {strings.Replace(good, `"`+layer.diffID.String()+`"`, "", 1), stella.ErrInvalid},
		"a key twice":                      {strings.Replace(good, `"config":{}`, `"config":{},"config":{}`, 1), stella.ErrInvalid},
		"a key in another case":            {strings.Replace(good, `"config":{}`, `"config":{},"RootFS":{}`, 1), stella.ErrInvalid},
		"an entrypoint that is a string":   {strings.Replace(good, `"config":{}`, `"config":{"Entrypoint":"sh"}`, 1), stella.ErrInvalid},
		"a NUL in the environment":         {strings.Replace(good, `"config":{}`, `"config":{"Env":["A=\u0000"]}`, 1), stella.ErrInvalid},
		"no JSON":                          {"#!/bin/sh", stella.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.push(memoryHost, "1", imageOf(t, layer))
			config := l.blob([]byte(c.doc))
			config.MediaType = types.OCIConfigJSON
			size, err := layer.Size()
			if err != nil {
				t.Fatal(err)
			}
			digest, err := layer.Digest()
			if err != nil {
				t.Fatal(err)
			}
			doc, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{{MediaType: types.OCILayer, Size: size, Digest: digest}}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = pull(t, l.client(artifact.Config{}), l.raw(string(types.OCIManifestSchema1), doc))
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantClass(t, err, c.want)
		})
	}
}
