// Package esapi has the one call that Jaeger uses.
package esapi

import (
	"io"
	"net/http"
)

type Indices struct {
	PutIndexTemplate func(name string, body io.Reader) (*http.Response, error)
}
