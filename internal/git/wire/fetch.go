package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/stella-ops/stella"
)

// Everything is a depth that no history has.
const Everything = 1<<31 - 1

// Request says what to fetch.
type Request struct {
	Wants []Hash
	// Haves are commits that are here, with all that they lead to up to where
	// Shallows cut history.
	Haves, Shallows []Hash
	// Depth cuts history so many commits from the wants; zero does not cut it.
	Depth int
}

// Response is what a remote sends.
type Response struct {
	Shallows   []Hash // commits whose parents are not sent
	Unshallows []Hash // commits of Request.Shallows whose parents are sent
	Pack       io.Reader
}

// Fetch asks for a pack. The response is read before the conversation is
// closed. Reading it fails when too little arrives. The error is of a class.
//
// Neither multi_ack nor thin-pack is asked for: with every have in one request
// the remote acknowledges once, and a pack that is whole can be stored as it is.
func (c *Conn) Fetch(req Request) (*Response, error) {
	if req.Depth > 0 && !c.Advert.Has("shallow") {
		req.Depth = 0
	}
	body, err := c.encodeFetch(req)
	if err != nil {
		return nil, err
	}
	r, err := c.request(body)
	if err != nil {
		return nil, c.fail(err)
	}
	resp := &Response{}
	if req.Depth > 0 {
		if err := resp.readShallow(r); err != nil {
			return nil, c.fail(err)
		}
	}
	var acks packp.ServerResponse
	if err := acks.Decode(r, false); err != nil {
		return nil, c.fail(err)
	}
	resp.Pack = c.packReader(r)
	return resp, nil
}

func (c *Conn) encodeFetch(req Request) ([]byte, error) {
	u := packp.NewUploadPackRequest()
	u.Wants, u.Haves, u.Shallows = slices.Clone(req.Wants), slices.Clone(req.Haves), slices.Clone(req.Shallows)
	u.Depth = packp.DepthCommits(req.Depth)
	// Progress is asked for, as a sign of life; what is not advertised is not.
	for _, name := range []capability.Capability{capability.Sideband64k, capability.OFSDelta, capability.Shallow} {
		if c.Advert.Has(string(name)) {
			if err := u.Capabilities.Set(name); err != nil {
				return nil, err
			}
		}
	}
	if err := u.Capabilities.Set(capability.Agent, userAgent); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := errors.Join(u.UploadRequest.Encode(&b), u.UploadHaves.Encode(&b, false)); err != nil {
		return nil, err
	}
	return appendPkt(b.Bytes(), "done\n"), nil
}

// request sends a body and returns the answer, watched.
func (c *Conn) request(body []byte) (*bufio.Reader, error) {
	c.asked = true
	timer := time.AfterFunc(c.timeout, func() {
		c.cancel(fmt.Errorf("%w: no answer within %s", stella.ErrUnreachable, c.timeout))
	})
	answer, err := c.send(c.ctx, body)
	timer.Stop()
	if err != nil {
		return nil, err
	}
	w, stop := c.watch(answer)
	hangUp := c.hangUp
	c.hangUp = func(asked bool) error {
		stop()
		return errors.Join(answer.Close(), hangUp(asked))
	}
	return bufio.NewReaderSize(w, 1<<16), nil
}

// readShallow reads the lines "shallow id" and "unshallow id" up to a flush.
func (resp *Response) readShallow(r *bufio.Reader) error {
	for {
		line, kind, err := readPkt(r)
		if err != nil {
			return err
		}
		if kind != pktData {
			return nil
		}
		if err := resp.addShallow(string(line)); err != nil {
			return err
		}
	}
}

func (resp *Response) addShallow(line string) error {
	var word, id string
	if n, err := fmt.Sscanf(line, "%s %s", &word, &id); err != nil || n != 2 {
		return errMalformed
	}
	h := plumbing.NewHash(id)
	switch {
	case h.String() != id:
		return errMalformed
	case word == "shallow":
		resp.Shallows = append(resp.Shallows, h)
	case word == "unshallow":
		resp.Unshallows = append(resp.Unshallows, h)
	default:
		return errMalformed
	}
	return nil
}

// packReader reads the pack, and failures become explained errors.
func (c *Conn) packReader(r *bufio.Reader) io.Reader {
	var pack io.Reader = r
	if c.Advert.Has("side-band-64k") {
		d := sideband.NewDemuxer(sideband.Sideband64k, r)
		d.Progress = c.said
		pack = d
	}
	return &explained{c: c, r: pack}
}

// explained gives errors of reading a class and a reason.
type explained struct {
	c *Conn
	r io.Reader
}

func (e *explained) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = e.c.fail(err)
	}
	return n, err
}

// FetchExact is Fetch for wants that no ref needs to lead to. Only version 2
// allows that everywhere (gitprotocol-v2(5)); the conversation must have been
// opened with it.
func (c *Conn) FetchExact(req Request) (*Response, error) {
	if c.Advert.Version != 2 {
		return nil, c.fail(errNotVersion2)
	}
	body := appendPkt(nil, "command=fetch\n")
	body = appendPkt(body, "agent="+userAgent+"\n")
	if c.Advert.Has("object-format") {
		body = appendPkt(body, "object-format=sha1\n")
	}
	body = append(body, delimPkt...)
	body = appendPkt(body, "ofs-delta\n")
	for word, ids := range map[string][]Hash{"want": req.Wants, "have": req.Haves, "shallow": req.Shallows} {
		for _, id := range ids {
			body = appendPkt(body, "%s %s\n", word, id)
		}
	}
	body = appendPkt(body, "deepen %d\n", req.Depth)
	body = append(appendPkt(body, "done\n"), flushPkt...)
	r, err := c.request(body)
	if err != nil {
		return nil, c.fail(err)
	}
	resp := &Response{}
	if err := resp.readSections(r); err != nil {
		return nil, c.fail(err)
	}
	d := sideband.NewDemuxer(sideband.Sideband64k, r)
	d.Progress = c.said
	resp.Pack = &explained{c: c, r: d}
	return resp, nil
}

var errNotVersion2 = errors.New("the remote does not speak version 2 of the protocol")

// readSections reads what precedes the pack.
func (resp *Response) readSections(r *bufio.Reader) error {
	section := ""
	for {
		line, kind, err := readPkt(r)
		switch {
		case err != nil:
			return err
		case kind == pktDelim:
			section = ""
		case kind != pktData:
			return errMalformed
		case section == "":
			section = string(line)
			if section == "packfile" {
				return nil
			}
		case section == "shallow-info":
			if err := resp.addShallow(string(line)); err != nil {
				return err
			}
		}
	}
}
