package store

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Records are stored as JSON, or, where a type says how (encoding.BinaryMarshaler
// and BinaryUnmarshaler), in a form of its own.

// Load returns the record of type T under key. Where there is none, the error
// is ErrNotFound; a stored value that is not a T is another error, never taken
// for a missing one.
func Load[T any](ctx context.Context, s Store, key string) (T, error) {
	var v T
	data, err := s.Get(ctx, key)
	if err == nil {
		err = decode(data, &v)
	}
	if err != nil && !errors.Is(err, ErrNotFound) { // which is no fault, and comes often
		err = fmt.Errorf("loading %T: %w", v, err)
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// Put stores v under key, whatever was there before, for keep (see
// Store.Update; 0 is for ever).
func Put[T any](ctx context.Context, s Store, key string, keep time.Duration, v T) error {
	data, err := encode(v)
	if err == nil {
		err = s.Update(ctx, key, keep, func([]byte) ([]byte, error) { return data, nil })
	}
	if err != nil {
		return fmt.Errorf("saving %T: %w", v, err)
	}
	return nil
}

// Change replaces the record of type T under key by what fn makes of it,
// atomically, under the rules of Store.Update: fn may run more than once. It
// gets nil where there is no record, may change the one it is given, and
// deletes it by returning nil. A stored value that is not a T is an error: fn does
// not run and the value stays. Where fn returns an error,
// nothing is changed and errors.Is finds it in what Change returns.
func Change[T any](ctx context.Context, s Store, key string, keep time.Duration, fn func(old *T) (*T, error)) error {
	err := s.Update(ctx, key, keep, func(data []byte) ([]byte, error) {
		var old *T
		if data != nil {
			old = new(T)
			if err := decode(data, old); err != nil {
				return nil, err
			}
		}
		v, err := fn(old)
		if err != nil || v == nil {
			return nil, err
		}
		return encode(v)
	})
	if err != nil {
		return fmt.Errorf("changing %T: %w", *new(T), err)
	}
	return nil
}

// Delete removes what is under key. That nothing was there is no error.
func Delete(ctx context.Context, s Store, key string) error {
	err := s.Update(ctx, key, 0, func([]byte) ([]byte, error) { return nil, nil })
	if err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	if own, ok := v.(encoding.BinaryMarshaler); ok {
		return own.MarshalBinary()
	}
	return json.Marshal(v)
}

// decode refuses null too: JSON would quietly make a zero record of it. The
// errors name the type and not the key, which may hold an address.
func decode(data []byte, v any) error {
	if own, ok := v.(encoding.BinaryUnmarshaler); ok {
		if err := own.UnmarshalBinary(data); err != nil {
			return fmt.Errorf("stored value does not parse: %w", err)
		}
		return nil
	}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return errors.New("stored value is null")
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("stored value does not parse: %w", err)
	}
	return nil
}
