package artifact

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/stella-ops/stella"
)

// Config says how a [Client] talks to registries. The zero value is usable.
type Config struct {
	// PlainHTTP lists registries, as "host" or "host:port", that are spoken to
	// without TLS. Every other one is spoken to over https, on loopback too.
	PlainHTTP []string
	// DockerConfig is the directory of Docker's config.json with credentials;
	// empty means $DOCKER_CONFIG, else $HOME/.docker.
	DockerConfig string
	// Getenv reads the environment: DOCKER_CONFIG, HOME, HTTPS_PROXY, HTTP_PROXY
	// and NO_PROXY. Nil means an empty environment.
	Getenv func(string) string
	// Transport replaces the hardened network below the rules on redirects and
	// credentials, which always apply. Nil means the hardened one.
	Transport http.RoundTripper
	// RootCAs are trusted for TLS; nil means those of the system.
	RootCAs *x509.CertPool
	// Timeout bounds one Resolve or Check; zero means one minute.
	Timeout time.Duration
	// PullTimeout bounds one Pull; zero means 30 minutes.
	PullTimeout time.Duration
	// StallTimeout is how long a transfer may bring next to nothing before it is
	// cut and tried again; zero means 30 seconds.
	StallTimeout time.Duration
	// Attempts is how often one request is tried; zero means 4.
	Attempts int
	// Limits bound what an image may be; zero fields mean the defaults.
	Limits Limits
	// Logger receives retries at debug level; nil means none.
	Logger *slog.Logger
}

// Limits bound what is accepted as an image. Zero fields mean the defaults.
type Limits struct {
	ManifestBytes     int64 // a manifest, an index or a configuration; 4 MiB
	Layers            int   // of one image; 128
	BlobBytes         int64 // one compressed layer; 4 GiB
	ImageBytes        int64 // all compressed layers together; 8 GiB
	UncompressedBytes int64 // all layers unpacked; 16 GiB
	Ratio             int64 // unpacked to compressed, of one layer beyond 32 MiB; 200
	Entries           int   // files, directories and links of all layers together; 500,000
}

// Client resolves, checks and pulls images. It is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a client. It does no I/O.
func New(c Config) *Client { return &Client{cfg: c} }

var errTODO = errors.New("not built yet")

// Resolve returns a with the digest that its tag has now; the tag stays. With a
// digest already, it is verified to exist.
func (c *Client) Resolve(ctx context.Context, a stella.Artifact) (stella.Artifact, error) {
	return a, errTODO
}

// Missing is a part of an image that the registry does not give.
type Missing struct {
	Digest stella.Digest `json:"digest"`
	Kind   string        `json:"kind"`  // "manifest", "config" or "layer"
	Error  string        `json:"error"` // why, in words for a person
}

// Report is what a registry has of an image.
type Report struct {
	Artifact  stella.Artifact `json:"artifact"`  // with its digest
	MediaType string          `json:"mediaType"` // of the manifest or index
	SizeBytes int64           `json:"sizeBytes"` // manifest, configuration and layers of the checked platforms, compressed
	Platforms []string        `json:"platforms"` // all that the image offers: "linux/amd64"
	Created   time.Time       `json:"created"`   // of the first checked platform; zero where the image does not say
	Available bool            `json:"available"` // every part is there
	Missing   []Missing       `json:"missing"`   // in manifest order
}

// Check proves by HEAD requests that manifest, configuration and all layers of
// the image are in the registry, for the platforms, or for that of this machine
// if none is given.
func (c *Client) Check(ctx context.Context, a stella.Artifact, platforms ...Platform) (Report, error) {
	return Report{}, errTODO
}

// Image is a pulled image: its verified blobs lie in a directory of the caller,
// who removes it.
type Image struct {
	Artifact stella.Artifact // as asked for
	Manifest stella.Digest   // of the platform's manifest; the artifact's own when that is no index
	Platform Platform
	Config   ImageConfig
	Created  time.Time // zero where the image does not say
	// SizeBytes is what the compressed layers take; UnpackedBytes is the sum of
	// all regular files that the image has in the end.
	SizeBytes, UnpackedBytes int64
}

// Pull fetches the image by its digest into dir, an existing private directory.
func (c *Client) Pull(ctx context.Context, a stella.Artifact, p Platform, dir string) (*Image, error) {
	return nil, errTODO
}

// Files returns the image's file system as one tar stream.
func (i *Image) Files(ctx context.Context) (io.ReadCloser, error) { return nil, errTODO }
