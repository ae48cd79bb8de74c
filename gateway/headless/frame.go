package headless

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A frame is how gRPC sends a message: a byte that says whether it is
// compressed, its length in four, and the message.
const frameHead = 5 // in bytes

// readFrame finds out whether the body of a call is one message that the library
// will read. What it would refuse is refused here, in our words, and is logged
// and counted as all errors are. A compression that is not known is left to it.
func readFrame(r *http.Request, content []byte, into proto.Message) error {
	encoding := r.Header.Get("Grpc-Encoding")
	switch encoding {
	case "", "identity", "gzip":
	default:
		return nil
	}
	message, err := unframe(content, encoding == "gzip")
	if err != nil {
		return err
	}
	unmarshal := proto.Unmarshal
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); strings.HasSuffix(media, "+json") {
		unmarshal = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal
	}
	if len(message) > 0 && unmarshal(message, into) != nil {
		return badBody("the body is not the message of this call")
	}
	return nil
}

// unframe returns the message of the one frame there may be.
func unframe(content []byte, mayZip bool) ([]byte, error) {
	if len(content) < frameHead {
		return nil, badBody("the body has no message")
	}
	compressed, message := content[0], content[frameHead:]
	length := uint64(binary.BigEndian.Uint32(content[1:frameHead]))
	switch {
	case compressed > 1 || compressed == 1 && !mayZip || length > uint64(len(message)):
		return nil, badBody("the frame of the message is broken")
	case length < uint64(len(message)):
		return nil, badBody("the body has more than one message")
	case compressed == 1 && length > 0:
		return gunzip(message)
	}
	return message, nil
}

// gunzip unpacks as much as a body may have.
func gunzip(compressed []byte) ([]byte, error) {
	var plain []byte
	reader, err := gzip.NewReader(bytes.NewReader(compressed))
	if err == nil {
		plain, err = io.ReadAll(io.LimitReader(reader, maxBody+1))
	}
	switch {
	case err != nil:
		return nil, badBody("the message cannot be unpacked")
	case len(plain) > maxBody:
		return nil, largeBody()
	}
	return plain, nil
}
