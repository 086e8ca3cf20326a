package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The waits between tries: 250 ms, doubled each time to 10 s, each one half
// more or less by chance. What a registry asks for counts up to 30 s.
const (
	firstWait     = 250 * time.Millisecond
	longestWait   = 10 * time.Second
	longestAsked  = 30 * time.Second
	smallestAsked = time.Second // a date that is just over, "Retry-After: 0"
)

// retry runs op until it succeeds, fails for good, or was tried as often as
// allowed. What is said about the failure names the thing attempted.
func (c *Client) retry(ctx context.Context, what string, op func() error) error {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = firstWait, longestWait, 2
	tries := 0
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		tries++
		last = op()
		return struct{}{}, advice(last)
	},
		backoff.WithBackOff(b), backoff.WithMaxTries(uint(c.cfg.Attempts)), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(_ error, wait time.Duration) {
			c.cfg.Logger.DebugContext(ctx, "registry request failed, trying again", "request", what, "err", last, "wait", wait, "tries", tries)
		}))
	if err == nil {
		return nil
	}
	return describe(what, last, ended(ctx), tries)
}

// advice tells the retry library what a fault means for it.
func advice(err error) error {
	var f *fault
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &f) || !f.again:
		return backoff.Permanent(err)
	case f.after > 0:
		return &backoff.RetryAfterError{Duration: f.after}
	}
	return err
}

func describe(what string, last, stopped error, tries int) error {
	switch {
	case stopped != nil && (last == nil || errors.Is(last, context.Canceled) || errors.Is(last, context.DeadlineExceeded) || errors.Is(last, stopped)):
		return fmt.Errorf("%s: %w", what, stopped)
	case stopped != nil:
		return fmt.Errorf("%s: %w (before that: %w)", what, stopped, last)
	}
	err := fmt.Errorf("%s: %w", what, last)
	if tries > 1 {
		err = fmt.Errorf("%s: %w (tried %d times)", what, last, tries)
	}
	var f *fault
	if errors.As(last, &f) && f.hint != "" {
		return stella.WithHint(err, f.hint)
	}
	return err
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
// Zero means that there is none that makes sense; the result is capped.
func retryAfter(header string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil && seconds >= 0 {
		wait = time.Duration(min(seconds, int64(longestAsked/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	} else {
		return 0
	}
	return min(max(wait, smallestAsked), longestAsked)
}

// The values that a request carries in its context for the network below.
type (
	bodyCapKey    struct{}
	retryAfterKey struct{}
)

func withBodyCap(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, bodyCapKey{}, bytes)
}

func bodyCap(ctx context.Context) int64 {
	if bytes, ok := ctx.Value(bodyCapKey{}).(int64); ok {
		return bytes
	}
	return maxSmallBodyBytes
}

// withRetryAfter makes a place for what any answer within one try asks for: the
// client that fetches tokens does not hand its headers out.
func withRetryAfter(ctx context.Context) (context.Context, *time.Duration) {
	wait := new(time.Duration)
	return context.WithValue(ctx, retryAfterKey{}, wait), wait
}

func noteRetryAfter(ctx context.Context, resp *http.Response) {
	wait, ok := ctx.Value(retryAfterKey{}).(*time.Duration)
	if ok && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError) {
		*wait = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
}

// within bounds an operation. Its end is the registry's fault, not the caller's.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%w: no end after %s", stella.ErrUnreachable, safe.Line(d.String())))
}
