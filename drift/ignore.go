package drift

import "time"

// Ignore is a rule for differences that do not count as drift, as written in
// environment.yaml under drift.ignore.
type Ignore struct {
	// Resource is matched with path.Match against the resource's id:
	// "service/api", "service/*". Empty matches every resource.
	Resource string
	// Path is a JSON Pointer (RFC 6901) into the resource, in which a segment
	// of "*" stands for any one segment. It covers everything below it; empty
	// covers the whole resource, its absence included.
	Path string
	// Reason is shown with every difference that the rule covers.
	Reason string
	// Until is when the rule ends; the zero value means never.
	Until time.Time
}
