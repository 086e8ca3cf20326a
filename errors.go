package stella

import "errors"

// The classes of errors. A class says what the caller may do; it is found with
// errors.Is. Drivers classify; retries and exit codes follow from the class in
// one place each.
var (
	// ErrInvalid: input is wrong; nothing happens until somebody changes it.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: what was named does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnreachable: Git, a registry or a target did not answer; may be retried.
	ErrUnreachable = errors.New("unreachable")
	// ErrDenied: Git, a registry or a target refused the credentials.
	ErrDenied = errors.New("access denied")
	// ErrConflict: somebody else changed it meanwhile; read again, decide again.
	ErrConflict = errors.New("conflict")
	// ErrLocked: the environment is locked by somebody else.
	ErrLocked = errors.New("locked")
	// ErrFrozen: the environment was locked by hand.
	ErrFrozen = errors.New("frozen")
	// ErrFenced: a newer holder has taken over; stop at once, touch nothing.
	ErrFenced = errors.New("fenced off")
	// ErrRefused: preflight said no and nothing was touched.
	ErrRefused = errors.New("refused")
	// ErrUnhealthy: it runs, and verification says that it does not work.
	ErrUnhealthy = errors.New("unhealthy")
	// ErrTampered: bytes are not what their digest, chain or seal says.
	ErrTampered = errors.New("tampered")
	// ErrTimeout: it did not end in time; it may go on.
	ErrTimeout = errors.New("timed out")
	// ErrUnsupported: well formed, and not something that this target can do.
	ErrUnsupported = errors.New("not supported")
)

// WithHint adds the next command to run to err. It returns nil for a nil err.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: hint}
}

// Hint returns the outermost hint of err, or an empty string.
func Hint(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}

type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }
