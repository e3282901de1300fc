package connector

// Metadata is implemented by connectors whose upstream wants to read who we are, in
// a document of its protocol. It is public.
type Metadata interface {
	// Metadata returns the document. It asks nobody.
	Metadata() (contentType string, body []byte, err error)
}
