-- piece: items
-- The lines of an order v, whatever the shop calls them: product and quantity.
CROSS JOIN LATERAL (
    SELECT coalesce(i.line ->> 'product_id', i.line ->> 'product', i.line ->> 'sku', i.line ->> 'id') AS product,
           CASE WHEN i.line ->> 'quantity' ~ '^[1-9][0-9]{0,3}$' THEN (i.line ->> 'quantity')::int ELSE 1 END AS quantity
    FROM jsonb_array_elements(CASE jsonb_typeof(coalesce(
             v.properties -> 'items', v.properties -> 'line_items', v.properties -> 'products', v.properties -> 'lines'))
         WHEN 'array' THEN coalesce(
             v.properties -> 'items', v.properties -> 'line_items', v.properties -> 'products', v.properties -> 'lines')
         ELSE '[]'::jsonb END) WITH ORDINALITY AS i (line, place)
    WHERE i.place <= 100 AND jsonb_typeof(i.line) = 'object') item
