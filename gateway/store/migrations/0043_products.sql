-- What a shop sells and where: its feed, what is bought together, and its shops (S0.17, S1.16, S1.33, S4.3, S4.6-S4.8, S4.17).

-- price in minor units; supply_days: how long one lasts; bought: in how many orders it was, as of the last night.
CREATE TABLE IF NOT EXISTS product (
    id text NOT NULL,
    name text NOT NULL,
    category text NOT NULL DEFAULT '',
    price bigint,
    currency text NOT NULL DEFAULT '',
    url text NOT NULL DEFAULT '',
    supply_days int,
    related text[] NOT NULL DEFAULT '{}',
    stock int,
    new_since timestamptz,
    bought bigint NOT NULL DEFAULT 0,
    restocked_at timestamptz,
    CONSTRAINT product_pkey PRIMARY KEY (id)
);

CREATE INDEX IF NOT EXISTS product_category ON product (category, bought);

-- What was bought in one order with a product, and in how many orders; the most frequent ones.
CREATE TABLE IF NOT EXISTS product_pair (
    product text NOT NULL,
    other text NOT NULL,
    orders bigint NOT NULL,
    CONSTRAINT product_pair_pkey PRIMARY KEY (product, other)
);

CREATE TABLE IF NOT EXISTS shop (
    id text NOT NULL,
    name text NOT NULL,
    lat double precision NOT NULL,
    lon double precision NOT NULL,
    address text NOT NULL DEFAULT '',
    url text NOT NULL DEFAULT '',
    is_default boolean NOT NULL DEFAULT false,
    CONSTRAINT shop_pkey PRIMARY KEY (id)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_reference_table('product');
        PERFORM create_reference_table('product_pair');
        PERFORM create_reference_table('shop');
    END IF;
END
$$;
