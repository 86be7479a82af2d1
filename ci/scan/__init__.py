"""What may not be shipped: vulnerable packages, secrets and unsafe manifests, found by scanners that must prove they work."""
