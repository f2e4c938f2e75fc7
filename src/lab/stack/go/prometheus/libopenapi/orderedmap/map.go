// Package orderedmap has the calls that Prometheus makes; its maps stay empty.
package orderedmap

type Map[K comparable, V any] struct{}

type Pair[K comparable, V any] struct{}

func New[K comparable, V any]() *Map[K, V] { return nil }

func (*Map[K, V]) Set(K, V) {}

func (*Map[K, V]) First() *Pair[K, V] { return nil }

func (*Pair[K, V]) Key() (key K) { return key }

func (*Pair[K, V]) Value() (value V) { return value }

func (*Pair[K, V]) Next() *Pair[K, V] { return nil }
