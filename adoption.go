package stella

// Found is what a target was found to run that Stella did not put there, as
// far as it could be taken over.
type Found struct {
	Components []FoundComponent // sorted by name
	Notes      []string         // what a person should know: what else runs beside them and is left alone
}

// FoundComponent is one component that somebody else started.
type FoundComponent struct {
	Name string // of the service
	// Image is the image as whoever started it named it: often a tag, which may
	// name something else by now.
	Image string
	// Artifacts are the names by which registries know what runs, each with its
	// digest, sorted; empty for an image that was built on the target and never
	// pushed.
	Artifacts []Artifact
}
