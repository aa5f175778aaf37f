"""The API server: one generic registry for every kind, schemas, patches, watches, authority."""
