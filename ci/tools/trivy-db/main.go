// Command trivy-db looks into Trivy's vulnerability database, and writes small ones for tests.
//
//	trivy-db list FILE    how many entries each top-level bucket holds, as JSON
//	trivy-db write FILE   a new database from JSON on standard input, {bucket: {key: value or nested bucket}}
//
// An object below a bucket is a bucket itself, unless its bucket is named in valueBuckets or it is two levels down:
// the layout of Trivy's schema 2 ("debian 12" / package / CVE, "vulnerability" / CVE, "data-source" / bucket).
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

var valueBuckets = map[string]bool{"vulnerability": true, "data-source": true}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) != 2 {
		return errors.New("usage: trivy-db list|write FILE")
	}
	switch words[0] {
	case "list":
		return list(words[1])
	case "write":
		return write(words[1])
	}
	return fmt.Errorf("%q is neither list nor write", words[0])
}

func list(file string) error {
	database, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer database.Close()
	counts := map[string]int{}
	err = database.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			counts[string(name)] = 0
			return bucket.ForEach(func(_, _ []byte) error {
				counts[string(name)]++
				return nil
			})
		})
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(counts)
}

func write(file string) error {
	var contents map[string]map[string]json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&contents); err != nil {
		return fmt.Errorf("standard input is not the JSON of a database: %w", err)
	}
	database, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer database.Close()
	return database.Update(func(tx *bbolt.Tx) error {
		for name, entries := range contents {
			bucket, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for key, value := range entries {
				if err := put(bucket, key, value, valueBuckets[name]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func put(bucket *bbolt.Bucket, key string, value json.RawMessage, leaf bool) error {
	if leaf {
		return bucket.Put([]byte(key), value)
	}
	var nested map[string]json.RawMessage
	if err := json.Unmarshal(value, &nested); err != nil {
		return fmt.Errorf("%s is not a bucket: %w", key, err)
	}
	inner, err := bucket.CreateBucket([]byte(key))
	if err != nil {
		return err
	}
	for name, advisory := range nested {
		if err := inner.Put([]byte(name), advisory); err != nil {
			return err
		}
	}
	return nil
}
