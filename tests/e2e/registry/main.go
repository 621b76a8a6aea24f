// registry is a small real OCI registry with the referrers API, for the end-to-end tests.
// It logs one line per request to stderr.  usage: registry ADDR BLOB-DIR
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], registry.New(
		registry.WithReferrersSupport(true),
		registry.WithBlobHandler(registry.NewDiskBlobHandler(os.Args[2])))))
}
