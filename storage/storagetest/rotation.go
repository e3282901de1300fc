package storagetest

import (
	"time"

	"github.com/countersign/countersign/storage"
)

// rotation moves the grant of in, once redeemed at epoch, to its next generation
// a minute later.
func rotation(in storage.SignIn) storage.Rotation {
	var r storage.Rotation
	Fill(&r)
	r.ID, r.ClientID = in.Grant.ID, in.Grant.ClientID
	r.Generation, r.Next = in.Grant.Generation, in.Grant.Generation+1
	r.Now, r.UsedAfter, r.CheckedAfter = epoch.Add(time.Minute), epoch.Add(-tick), in.Identity.CheckedAt.Add(-tick)
	return r
}
