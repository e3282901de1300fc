package clients_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/storage"
)

func static(t *testing.T, ids ...string) clients.Static {
	t.Helper()
	var list []storage.Client
	for _, id := range ids {
		list = append(list, storage.Client{ID: id, Name: "client " + id})
	}
	s, err := clients.NewStatic(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// broken is a store whose database does not answer.
type broken struct{}

func (broken) Client(context.Context, string) (storage.Client, error) {
	return storage.Client{}, storage.ErrUnavailable
}

func TestNewStaticRefusesTwins(t *testing.T) {
	if _, err := clients.NewStatic([]storage.Client{{ID: "a"}, {ID: "b"}, {ID: "a"}}); err == nil {
		t.Error("two clients with one id are accepted")
	}
}

func TestLookup(t *testing.T) {
	from := static(t, "web", "Web", "wéb")
	for _, id := range []string{"web", "Web", "wéb"} {
		c, err := clients.Lookup(t.Context(), from, id)
		if err != nil || c == nil || c.ID != id || c.Name != "client "+id {
			t.Errorf("%q: %+v, %v", id, c, err)
		}
	}
	for _, id := range []string{"", "WEB", "web ", " web", "we", "web2", "web\x00", "we%62", "\xff"} {
		if c, err := clients.Lookup(t.Context(), from, id); err != nil || c != nil {
			t.Errorf("%q: %+v, %v, want none", id, c, err)
		}
	}
	if c, err := clients.Lookup(t.Context(), broken{}, "web"); !errors.Is(err, storage.ErrUnavailable) || c != nil {
		t.Errorf("a failing store: %+v, %v", c, err)
	}
	// No id, no question.
	if c, err := clients.Lookup(t.Context(), broken{}, ""); err != nil || c != nil {
		t.Errorf("no id: %+v, %v", c, err)
	}
}

func TestFind(t *testing.T) {
	got, err := clients.Find(t.Context(), static(t, "a", "b", "c"), []string{"b", "gone", "", "a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]storage.Client{"a": {ID: "a", Name: "client a"}, "b": {ID: "b", Name: "client b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := clients.Find(t.Context(), broken{}, nil); err != nil || len(got) != 0 {
		t.Errorf("nothing asked: %v, %v", got, err)
	}
	if _, err := clients.Find(t.Context(), broken{}, []string{"a"}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a failing store: %v", err)
	}
}
