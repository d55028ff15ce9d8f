package cdc

import (
	"context"
	"fmt"
	"strings"
)

// tableSQL tells whether a table's whole old rows are in the log, and its schema.
const tableSQL = `SELECT c.relreplident = 'f', n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)`

// publicationSQL tells whether the publication has every change of our tables,
// and whether it has other tables.
const publicationSQL = `
SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND (p.puballtables OR %[2]d = (
         SELECT count(*) FROM pg_publication_rel AS r
         WHERE r.prpubid = p.oid AND r.prrelid IN (%[3]s) AND r.prqual IS NULL AND r.prattrs IS NULL)),
       EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid NOT IN (%[3]s)),
       p.puballtables
FROM pg_publication AS p WHERE p.pubname = %[1]s`

// publication makes the publication agree with our tables. Where it did not have
// all of their changes, an existing slot has not seen them all: gap says why. It
// sets the schema of each table. Before it closes a gap it calls distrust.
func (s *session) publication(ctx context.Context, name string, entities []*entity, schema map[string]string, distrust func(context.Context) error) (gap string, err error) {
	var tables []string
	for _, e := range entities {
		rows, err := s.rows(ctx, fmt.Sprintf(tableSQL, literal(e.table)))
		switch {
		case err != nil:
			return "", err
		case len(rows) == 0:
			return "", fmt.Errorf("there is no table %s: the migrations have not run", e.table)
		case string(rows[0][0]) != "t":
			return "", fmt.Errorf("table %s must have REPLICA IDENTITY FULL, so that its deletions and TOAST values are whole", e.table)
		}
		schema[e.table] = string(rows[0][1])
		tables = append(tables, identifier(schema[e.table])+"."+identifier(e.table))
	}
	list := strings.Join(tables, ", ")
	rows, err := s.rows(ctx, publicationQuery(name, entities))
	if err != nil {
		return "", err
	}
	if len(rows) == 0 {
		if err := distrust(ctx); err != nil {
			return "", err
		}
		_, err := s.rows(ctx, "CREATE PUBLICATION "+identifier(name)+" FOR TABLE "+list)
		return "the publication " + name + " was gone", err
	}
	whole, others, all := string(rows[0][0]) == "t", string(rows[0][1]) == "t", string(rows[0][2]) == "t"
	if whole && !others {
		return "", nil
	}
	if !whole {
		if err := distrust(ctx); err != nil {
			return "", err
		}
	}
	if !all {
		if _, err := s.rows(ctx, "ALTER PUBLICATION "+identifier(name)+" SET TABLE "+list); err != nil {
			return "", err
		}
	}
	if whole {
		return "", nil
	}
	_, err = s.rows(ctx, "ALTER PUBLICATION "+identifier(name)+" SET (publish = 'insert, update, delete, truncate')")
	return "the publication " + name + " did not have every change", err
}

func publicationQuery(name string, entities []*entity) string {
	var tables []string
	for _, e := range entities {
		tables = append(tables, literal(e.table)+"::regclass")
	}
	return fmt.Sprintf(publicationSQL, literal(name), len(entities), strings.Join(tables, ", "))
}
