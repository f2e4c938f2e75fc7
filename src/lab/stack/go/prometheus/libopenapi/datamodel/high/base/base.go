// Package base has the fields that Prometheus sets; nothing reads them.
package base

import "github.com/pb33f/libopenapi/orderedmap"

type (
	Contact struct{ Name, URL string }
	Example struct {
		Summary, Description string
		Value                any
	}
	Info struct {
		Title, Description, Version string
		Contact                     *Contact
	}
	Tag struct{ Name, Summary, Description string }

	DynamicValue[A, B any] struct {
		N int
		A A
		B B
	}
	SchemaProxy struct{}
	Schema      struct {
		Type, Required                               []string
		Title, Description, Format, ContentMediaType string
		Items, AdditionalProperties                  *DynamicValue[*SchemaProxy, bool]
		Properties                                   *orderedmap.Map[string, *SchemaProxy]
		OneOf, AnyOf                                 []*SchemaProxy
		ContentSchema                                *SchemaProxy
		Default, Enum, Example                       any
		Minimum                                      *float64
		MinItems, MaxItems                           *int64
	}
)

func CreateSchemaProxy(*Schema) *SchemaProxy { return nil }

func CreateSchemaProxyRef(string) *SchemaProxy { return nil }
