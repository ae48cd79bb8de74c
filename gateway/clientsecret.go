package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-auth/postern/store"
)

// Secret is how a client's secret is known: plain, or by a hash of it.
type Secret struct {
	kind secretKind
	// sum is the SHA-256 of the secret, hashed the whole bcrypt hash.
	sum    [sha256.Size]byte
	hashed string
}

type secretKind int

const (
	noSecret secretKind = iota
	secretSHA256
	secretBcrypt
)

// ParseSecret reads a secret as it is configured: sha256:<64 hex digits>, a
// bcrypt hash as `caddy hash-password` prints it, or the secret itself. Its
// errors do not show it.
func ParseSecret(text string) (Secret, error) {
	digits, isSum := strings.CutPrefix(text, "sha256:")
	switch {
	case strings.TrimSpace(text) == "":
		return Secret{}, errors.New("the secret is empty: write one, as in `secret {env.SHOP_SECRET}`")
	case isSum:
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != sha256.Size {
			return Secret{}, errors.New("a secret that begins with sha256: needs 64 hex digits after it, as sha256sum prints them")
		}
		return Secret{kind: secretSHA256, sum: [sha256.Size]byte(sum)}, nil
	case strings.HasPrefix(text, "$2"):
		cost, err := bcrypt.Cost([]byte(text))
		if err != nil {
			return Secret{}, errors.New("a secret that begins with $2 is a bcrypt hash, and this one is damaged; write it as `caddy hash-password` prints it, in backquotes")
		}
		if cost > maxBcryptCost {
			return Secret{}, fmt.Errorf("a bcrypt hash of cost %d takes too long; make one of at most %d", cost, maxBcryptCost)
		}
		return Secret{kind: secretBcrypt, hashed: text}, nil
	case strings.HasPrefix(text, "$argon2"):
		return Secret{}, errors.New("an argon2 hash cannot be used here; make one with `caddy hash-password --algorithm bcrypt`, or write sha256: and the SHA-256 of the secret")
	}
	return Secret{kind: secretSHA256, sum: sha256.Sum256([]byte(text))}, nil
}

// maxBcryptCost keeps a comparison below some seconds.
const maxBcryptCost = 15

// fingerprint tells configurations of a secret apart.
func (s Secret) fingerprint() string { return s.hashed + "/" + string(s.sum[:]) }

// quickly says whether the secret is right, where that is known without bcrypt.
func (n *Node) quickly(s Secret, said [sha256.Size]byte) bool {
	right := s.sum
	if s.kind == secretBcrypt {
		if known, ok := n.rightSecrets.Load(s.hashed); ok {
			right = known.([sha256.Size]byte)
		}
	}
	return subtle.ConstantTimeCompare(right[:], said[:]) == 1
}

// nobodysSecret is compared where there is no such client.
var nobodysSecret = Secret{kind: secretSHA256, sum: sha256.Sum256([]byte(newSecret()))}

var (
	// ErrClient says that there is no such client, or that its secret is
	// another: which of them is nobody's business.
	ErrClient = errors.New("no such client, or a wrong secret")
	// ErrToken says that an access token is none of ours, expired or revoked.
	ErrToken = errors.New("no such access token")
)

const (
	// ClientTokenLife is how long an access token of a client works.
	ClientTokenLife = time.Hour
	// clientTokenPrefix lets scanners of leaked secrets find a token.
	clientTokenPrefix = "pca_"
	limitSecrets      = "client secrets"
)

// wrongSecrets bounds wrong secrets for each network, because each may cost a
// comparison by bcrypt.
var wrongSecrets = Limit{30, 10 * time.Minute}

// maxSecretsPerHour bounds them for the whole server.
const maxSecretsPerHour = 50_000

// AuthenticateClient finds the client that an id and a secret name. clientIP is
// who says so, for the limit; "" where that is not known. It fails with
// ErrClient, a *LimitError, or a failure of the store.
func (e *Engine) AuthenticateClient(ctx context.Context, id, secret, clientIP string) (*Client, error) {
	said := sha256.Sum256([]byte(secret))
	client, known := e.config.Clients[id]
	if !known {
		e.node.quickly(nobodysSecret, said)
	} else if e.node.quickly(client.secret, said) {
		return client, nil
	}
	if err := e.countSecret(ctx, clientIP); err != nil {
		return nil, err
	}
	// A client without a bcrypt hash, or none at all, takes as long as one with it.
	hashed := e.bcryptOf(client)
	if hashed == "" {
		return nil, ErrClient
	}
	right, err := e.compareInTurn(ctx, hashed, secret)
	if err != nil {
		return nil, err
	}
	if !right || client == nil || hashed != client.secret.hashed {
		return nil, ErrClient
	}
	e.node.rightSecrets.Store(hashed, said)
	return client, nil
}

// countSecret counts a secret that is wrong, or that bcrypt has to compare, of a
// client network and of the server: of more networks no counts are kept.
func (e *Engine) countSecret(ctx context.Context, clientIP string) error {
	server := Limit{maxSecretsPerHour, time.Hour}
	if err := e.room(ctx, limitSecrets, "secrets", server); err != nil {
		return err
	}
	if err := e.takeOfNetwork(ctx, limitSecrets, "secrets/", clientIP, wrongSecrets); err != nil {
		return err
	}
	return e.take(ctx, limitSecrets, "secrets", server)
}

// bcryptTime is how long a comparison by bcrypt waits for its turn.
const bcryptTime = 5 * time.Second

// compareInTurn compares by bcrypt, one after another, so that wrong secrets from
// many networks take one core at most. Where the queue is too long it fails with
// a *LimitError.
func (e *Engine) compareInTurn(ctx context.Context, hashed, secret string) (bool, error) {
	timer := time.NewTimer(bcryptTime)
	defer timer.Stop()
	select {
	case e.node.bcrypt <- struct{}{}:
		defer func() { <-e.node.bcrypt }()
		return bcrypt.CompareHashAndPassword([]byte(hashed), []byte(secret)) == nil, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C:
		return false, &LimitError{Limit: limitSecrets, RetryAfter: bcryptTime}
	}
}

// bcryptOf is the bcrypt hash of a client's secret, where it has one, or that of
// any other that has one, or "".
func (e *Engine) bcryptOf(client *Client) string {
	if client != nil && client.secret.kind == secretBcrypt {
		return client.secret.hashed
	}
	for _, other := range e.config.Clients {
		if other.secret.kind == secretBcrypt {
			return other.secret.hashed
		}
	}
	return ""
}

// clientToken is an access token of a client, under the hash of it.
type clientToken struct {
	Client  string    `json:"client"`
	Expires time.Time `json:"expires"`
	// Secret is a hash of the client's secret as it was configured: the token
	// works while it is that.
	Secret string `json:"secret"`
}

func (e *Engine) clientTokenKey(token string) string {
	return "client-token/" + e.keys.hash("client token", token)
}

func (e *Engine) secretHash(client *Client) string {
	return e.keys.hash("client secret", client.ID+"/"+client.secret.fingerprint())
}

// NewClientToken makes an access token of the client. It works for
// ClientTokenLife, while the client is configured with this secret.
func (e *Engine) NewClientToken(ctx context.Context, client *Client) (token string, err error) {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	token = clientTokenPrefix + newSecret()
	record := clientToken{Client: client.ID, Expires: e.now().Add(ClientTokenLife), Secret: e.secretHash(client)}
	if err := store.Put(ctx, e.store, e.clientTokenKey(token), ClientTokenLife+time.Minute, record); err != nil {
		return "", fmt.Errorf("saving access token: %w", err)
	}
	e.log.Info("access token made", "client", client.ID)
	return token, nil
}

// ClientOfToken returns the client whose access token it is. It fails with
// ErrToken, or a failure of the store.
func (e *Engine) ClientOfToken(ctx context.Context, token string) (*Client, error) {
	if !strings.HasPrefix(token, clientTokenPrefix) || len(token) > 200 {
		return nil, ErrToken
	}
	record, err := store.Load[clientToken](ctx, e.store, e.clientTokenKey(token))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrToken
	}
	if err != nil {
		return nil, err
	}
	client, known := e.config.Clients[record.Client]
	if !known || !e.now().Before(record.Expires) || record.Secret != e.secretHash(client) {
		return nil, ErrToken
	}
	return client, nil
}

// RevokeClientToken ends an access token of the client. One that is none, or
// another client's, is passed over (RFC 7009, section 2.2).
func (e *Engine) RevokeClientToken(ctx context.Context, client *Client, token string) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	owner, err := e.ClientOfToken(ctx, token)
	if errors.Is(err, ErrToken) || err == nil && owner.ID != client.ID {
		return nil
	}
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, e.store, e.clientTokenKey(token)); err != nil {
		return fmt.Errorf("revoking access token: %w", err)
	}
	e.log.Info("access token revoked", "client", client.ID)
	return nil
}
