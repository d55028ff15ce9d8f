package cdc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// tableSQL tells whether a table's whole old rows are in the log, its schema and its id, and
// whether rows of it are in other tables.
const tableSQL = `
SELECT c.relreplident = 'f', n.nspname, c.oid, c.relkind = 'p' OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)`

// publicationSQL tells whether the publication has every change of our tables,
// whether it has other tables, and how to know it again: what anybody alters has another
// id or another transaction then, also where it is put back. Tables that have rows of ours
// come last.
const publicationSQL = `
SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND (p.puballtables OR %[2]d = (
         SELECT count(*) FROM pg_publication_rel AS r
         WHERE r.prpubid = p.oid AND r.prrelid IN (%[3]s) AND r.prqual IS NULL AND r.prattrs IS NULL)),
       EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid NOT IN (%[3]s)),
       p.puballtables,
       concat_ws(' ', p.oid, p.xmin, ARRAY[%[3]s]::oid[], (SELECT array_agg(r.oid ORDER BY r.oid) FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid IN (%[3]s)),
         (SELECT array_agg(i.inhrelid ORDER BY i.inhrelid) FROM pg_inherits AS i WHERE i.inhparent IN (%[3]s)))
FROM pg_publication AS p WHERE p.pubname = %[1]s`

// publication makes the publication agree with our tables, learns their ids, and returns
// how to know it again. Where it did not have all of their changes, an existing slot has
// not seen them all: gap says why.
func (o *owner) publication(ctx context.Context) (mark, gap string, err error) {
	var tables []string
	for _, e := range o.entities {
		rows, err := o.rows(ctx, fmt.Sprintf(tableSQL, literal(e.table)))
		switch {
		case err != nil:
			return "", "", err
		case len(rows) == 0:
			return "", "", fmt.Errorf("PONIX_POSTGRES_USERNAME sees no table %s: the migrations have not run, or it lacks USAGE on the schema, or its search_path leaves that out", e.table)
		case string(rows[0][0]) != "t":
			return "", "", fmt.Errorf("table %s must have REPLICA IDENTITY FULL, so that its deletions and TOAST values are whole", e.table)
		case string(rows[0][3]) == "t": // they have ids of their own, and a Truncate of one is none of all
			return "", "", fmt.Errorf("table %s has partitions, or tables that inherit from it, whose changes are not followed: it must be one table", e.table)
		}
		id, err := strconv.ParseUint(string(rows[0][2]), 10, 32)
		if err != nil {
			return "", "", err
		}
		o.tables[uint32(id)] = e
		tables = append(tables, identifier(string(rows[0][1]))+"."+identifier(e.table))
	}
	name, list := identifier(o.Publication), strings.Join(tables, ", ")
	query := publicationQuery(o.Publication, o.entities)
	rows, err := o.rows(ctx, query)
	if err != nil {
		return "", "", err
	}
	mend, who := "", "whoever owns it and the tables"
	switch {
	case len(rows) == 0:
		who = "whoever owns the tables and has CREATE on the database"
		gap, mend = "the publication "+o.Publication+" was gone", "CREATE PUBLICATION "+name+" FOR TABLE "+list
	default:
		whole, others, all := string(rows[0][0]) == "t", string(rows[0][1]) == "t", string(rows[0][2]) == "t"
		if !all && (!whole || others) {
			mend = "ALTER PUBLICATION " + name + " SET TABLE " + list + "; "
		}
		if !whole {
			gap = "the publication " + o.Publication + " did not have every change"
			mend += "ALTER PUBLICATION " + name + " SET (publish = 'insert, update, delete, truncate')"
		}
	}
	if mend != "" {
		_, err := o.wait(ctx, mend)
		if hasCode(err, insufficientPrivilege) {
			err = fmt.Errorf("PONIX_POSTGRES_USERNAME may not see to the publication: %s, or a superuser, has to run %s: %w", who, mend, err)
		}
		if err != nil {
			return "", "", err
		}
		if rows, err = o.rows(ctx, query); err != nil {
			return "", "", err
		}
	}
	if len(rows) == 0 {
		return "", "", fmt.Errorf("the publication %s is gone again", o.Publication)
	}
	return string(rows[0][3]), gap, nil
}

// insufficientPrivilege is PostgreSQL's code for what a user may not do.
const insufficientPrivilege = "42501"

func publicationQuery(name string, entities []*entity) string {
	var tables []string
	for _, e := range entities {
		tables = append(tables, literal(e.table)+"::regclass")
	}
	return fmt.Sprintf(publicationSQL, literal(name), len(entities), strings.Join(tables, ", "))
}
