package artifact

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
)

// layout is an OCI image layout on disk that answers as a registry does, for
// every repository, so that what is read from it goes through the same limits
// and checks. See https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
type layout struct{ dir string }

// RoundTrip implements http.RoundTripper for reading manifests and blobs by
// digest. It is an error, as of a registry that does not answer, when no layout
// is there: a disk that is not mounted has lost nothing.
func (l layout) RoundTrip(r *http.Request) (*http.Response, error) {
	closeBody(r.Body)
	if _, err := os.Stat(filepath.Join(l.dir, "oci-layout")); err != nil {
		return nil, fmt.Errorf("no OCI layout in %s: %w", l.dir, err)
	}
	if r.URL.Path == "/v2/" {
		return l.answer(r, http.StatusOK, "", http.NoBody, 0), nil
	}
	kind, digest := path.Split(r.URL.Path)
	if d, err := stella.ParseDigest(digest); err == nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return l.blob(r, d, strings.HasSuffix(kind, "/manifests/"))
	}
	return l.answer(r, http.StatusNotFound, "", http.NoBody, 0), nil
}

func (l layout) blob(r *http.Request, d stella.Digest, isManifest bool) (*http.Response, error) {
	file := filepath.Join(l.dir, "blobs", "sha256", d.Hex())
	info, err := os.Stat(file)
	if os.IsNotExist(err) || err == nil && !info.Mode().IsRegular() {
		return l.answer(r, http.StatusNotFound, "", http.NoBody, 0), nil
	}
	if err != nil {
		return nil, err
	}
	mediaType := "application/octet-stream"
	if isManifest {
		mediaType = l.typeOf(file, d)
	}
	if r.Method == http.MethodHead {
		return l.answer(r, http.StatusOK, mediaType, http.NoBody, info.Size()), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	return l.answer(r, http.StatusOK, mediaType, &untilEnd{r.Context(), f}, info.Size()), nil
}

func (l layout) answer(r *http.Request, status int, mediaType string, body io.ReadCloser, length int64) *http.Response {
	h := http.Header{}
	if mediaType != "" {
		h.Set("Content-Type", mediaType)
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: body, ContentLength: length, Request: r,
	}
}

// typeOf is what index.json calls a manifest. One that it does not list, as
// those below an index, says it itself, or else by what is in it.
func (l layout) typeOf(file string, d stella.Digest) string {
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if raw, err := readSmall(filepath.Join(l.dir, "index.json")); err == nil && json.Unmarshal(raw, &index) == nil {
		for _, m := range index.Manifests {
			if m.Digest == d {
				return string(m.MediaType)
			}
		}
	}
	var doc struct {
		MediaType types.MediaType  `json:"mediaType"`
		Manifests *json.RawMessage `json:"manifests"`
	}
	raw, err := readSmall(file)
	switch {
	case err != nil || json.Unmarshal(raw, &doc) != nil:
		return ""
	case doc.MediaType != "":
		return string(doc.MediaType)
	case doc.Manifests != nil:
		return string(types.OCIImageIndex)
	}
	return string(types.OCIManifestSchema1)
}

// maxIndexBytes bounds index.json: a backup of years lists many images.
const maxIndexBytes = 64 << 20

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return io.ReadAll(io.LimitReader(f, maxIndexBytes))
}

// untilEnd is a file that is read no longer than whoever asked for it waits.
type untilEnd struct {
	ctx context.Context // of the request
	f   *os.File
}

func (u *untilEnd) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.f.Read(p)
}

func (u *untilEnd) Close() error { return u.f.Close() }
