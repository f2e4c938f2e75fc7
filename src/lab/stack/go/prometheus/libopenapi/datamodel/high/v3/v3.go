// Package v3 has the fields that Prometheus sets; nothing reads them.
package v3

import (
	"github.com/pb33f/libopenapi/datamodel/high/base"
	"github.com/pb33f/libopenapi/orderedmap"
)

type (
	Components struct {
		Schemas *orderedmap.Map[string, *base.SchemaProxy]
	}
	Document struct {
		Version    string
		Info       *base.Info
		Servers    []*Server
		Tags       []*base.Tag
		Paths      *Paths
		Components *Components
	}
	MediaType struct {
		Schema, ItemSchema *base.SchemaProxy
		Examples           *orderedmap.Map[string, *base.Example]
	}
	Operation struct {
		OperationId, Summary, Description string
		Tags                              []string
		Parameters                        []*Parameter
		RequestBody                       *RequestBody
		Responses                         *Responses
	}
	Parameter struct {
		Name, In, Description string
		Required, Explode     *bool
		Schema                *base.SchemaProxy
		Examples              *orderedmap.Map[string, *base.Example]
	}
	PathItem struct{ Get, Post, Put, Delete, Options *Operation }
	Paths    struct {
		PathItems *orderedmap.Map[string, *PathItem]
	}
	RequestBody struct {
		Description string
		Required    *bool
		Content     *orderedmap.Map[string, *MediaType]
	}
	Response struct {
		Description string
		Content     *orderedmap.Map[string, *MediaType]
	}
	Responses struct {
		Codes *orderedmap.Map[string, *Response]
	}
	Server struct{ URL string }
)

func (*Document) Render() ([]byte, error) { return nil, nil }
