"""The words of the English-German grammar, as tables.

Nouns: gender, singular (`nominative>other cases` where they differ), plural (`-`: no plural),
English singular and plural (`.`: regular), classes. Adjectives: stem (`stem>base form` where they
differ), comparative (`-`: none), English, English comparative, classes. Verbs: infinitive
(`prefix+verb` if separable), stem of the second and third person singular (`-`: regular),
participle, auxiliary / English base and past / pattern / subjects / nouns of the key slot. An
underscore stands for a space.
"""

from __future__ import annotations

NOUNS = """
m Mann Männer man men person
f Frau Frauen woman women person
n Kind Kinder child children person young
n Mädchen Mädchen girl . person young
m Junge>Jungen Jungen boy . person young
n Baby Babys baby . young
m Lehrer Lehrer teacher . person
f Mutter Mütter mother . person
m Vater Väter father . person
f Schwester Schwestern sister . person
m Bruder Brüder brother . person
f Tochter Töchter daughter . person
m Sohn Söhne son . person
f Tante Tanten aunt . person
m Onkel Onkel uncle . person
f Großmutter Großmütter grandmother . person
m Großvater Großväter grandfather . person
f Königin Königinnen queen . person
m König Könige king . person
f Prinzessin Prinzessinnen princess . person
m Prinz>Prinzen Prinzen prince . person
m Freund Freunde friend . person
m Nachbar>Nachbarn Nachbarn neighbor . person
m Arzt Ärzte doctor . person
f Krankenschwester Krankenschwestern nurse . person
m Student>Studenten Studenten student . person
m Gast Gäste guest . person
m Kollege>Kollegen Kollegen colleague . person
m Bäcker Bäcker baker . person
m Gärtner Gärtner gardener . person
m Koch Köche cook . person
m Polizist>Polizisten Polizisten police_officer . person
m Soldat>Soldaten Soldaten soldier . person
m Sänger Sänger singer . person
m Künstler Künstler artist . person
m Fahrer Fahrer driver . person
m Bauer>Bauern Bauern farmer . person
m Richter Richter judge . person
f Nichte Nichten niece . person
m Neffe>Neffen Neffen nephew . person
f Dame Damen lady . person
f Hexe Hexen witch . person
m Hund Hunde dog . animal
f Katze Katzen cat . animal
n Pferd Pferde horse . animal
m Vogel Vögel bird . animal
f Maus Mäuse mouse mice animal
f Kuh Kühe cow . animal
n Schwein Schweine pig . animal
n Kaninchen Kaninchen rabbit . animal
m Bär>Bären Bären bear . animal
f Ente Enten duck . animal
m Affe>Affen Affen monkey . animal
f Ziege Ziegen goat . animal
m Esel Esel donkey . animal
m Apfel Äpfel apple . food fruit
f Banane Bananen banana . food fruit
f Birne Birnen pear . food fruit
f Orange Orangen orange . food fruit
f Tomate Tomaten tomato tomatoes food fruit
f Karotte Karotten carrot . food fruit
f Kartoffel Kartoffeln potato potatoes food hot
n Ei Eier egg . food hot
f Suppe Suppen soup . food hot
m Kuchen Kuchen cake . food baked
n Brötchen Brötchen roll . food baked
m Keks Kekse cookie . food baked
f Pizza Pizzas pizza . food baked hot
n Brot - bread - food baked
n Fleisch - meat - food hot
m Käse - cheese - food
m Reis - rice - food hot
m Honig - honey - food
f Schokolade - chocolate - food
f Butter - butter - food
m Kaffee - coffee - drink
m Tee - tea - drink
n Wasser - water - drink
f Milch - milk - drink
m Saft - juice - drink
n Bier - beer - drink
m Wein - wine - drink
f Limonade - lemonade - drink
n Buch Bücher book . readable thing small
m Roman Romane novel . readable thing small
n Gedicht Gedichte poem . readable
f Geschichte Geschichten story stories readable
f Zeitung Zeitungen newspaper . readable thing small
m Brief Briefe letter . readable thing small
m Bericht Berichte report . readable
f Nachricht Nachrichten message . readable
f Postkarte Postkarten postcard . readable thing small
m Mantel Mäntel coat . clothing thing
n Hemd Hemden shirt . clothing thing small
f Jacke Jacken jacket . clothing thing small
n Kleid Kleider dress . clothing thing
m Hut Hüte hat . clothing thing small
m Schal Schals scarf scarves clothing thing small
f Mütze Mützen cap . clothing thing small
m Rock Röcke skirt . clothing thing
m Pullover Pullover sweater . clothing thing
m Schuh Schuhe shoe . clothing thing
n Auto Autos car . vehicle
n Fahrrad Fahrräder bicycle . vehicle
n Motorrad Motorräder motorcycle . vehicle
n Boot Boote boat . vehicle
n Schiff Schiffe ship . vehicle
m Zug Züge train . vehicle public
m Bus Busse bus . vehicle public
f Tür Türen door . opening
n Fenster Fenster window . opening
n Tor Tore gate . opening
f Schublade Schubladen drawer . opening
m Koffer Koffer suitcase . opening thing load
f Kiste Kisten box . opening thing load
f Tasche Taschen bag . opening thing load
f Flasche Flaschen bottle . opening thing upright
n Paket Pakete package . opening thing load
f Lampe Lampen lamp . device thing upright
n Radio Radios radio . device thing upright
m Fernseher Fernseher television . device thing
m Computer Computer computer . device thing
f Heizung Heizungen heater . device
f Maschine Maschinen machine . device
f Kamera Kameras camera . device thing small
m Schlüssel Schlüssel key . thing small
n Messer Messer knife knives thing small
f Gabel Gabeln fork . thing small
m Löffel Löffel spoon . thing small
m Stift Stifte pen . thing small
m Ring Ringe ring . thing small
m Regenschirm Regenschirme umbrella . thing small
n Glas Gläser glass . thing upright dish
f Tasse Tassen cup . thing upright dish
m Teller Teller plate . thing upright dish
m Spiegel Spiegel mirror . thing
f Uhr Uhren clock . thing
n Bild Bilder picture . thing
n Geschenk Geschenke gift . thing
f Blume Blumen flower . thing
f Gitarre Gitarren guitar . thing
m Ball Bälle ball . thing
f Kerze Kerzen candle . thing upright
m Tisch Tische table . furniture
m Stuhl Stühle chair . furniture seat load
n Bett Betten bed . furniture seat
n Sofa Sofas sofa . furniture seat
m Sessel Sessel armchair . furniture seat
f Bank Bänke bench . furniture seat
m Teppich Teppiche carpet . furniture
n Regal Regale shelf shelves furniture
m Garten Gärten garden . place
m Park Parks park . place
m Wald Wälder forest . place
m Hof Höfe yard . place
f Küche Küchen kitchen . place room
n Zimmer Zimmer room . place room
n Büro Büros office . place room building
f Wohnung Wohnungen apartment . place room
f Garage Garagen garage . place room building
m Keller Keller basement . place room
n Haus Häuser house . place building
f Schule Schulen school . place building
f Kirche Kirchen church . place building
n Museum Museen museum . place building
n Restaurant Restaurants restaurant . place building
f Bibliothek Bibliotheken library . place building
m Bahnhof Bahnhöfe station . place building
n Hotel Hotels hotel . place building
f Fabrik Fabriken factory . place building
n Krankenhaus Krankenhäuser hospital . place building
n Theater Theater theater . place building
m Turm Türme tower . place building
n Schloss Schlösser castle . place building
f Stadt Städte city . place town
n Dorf Dörfer village . place town
"""

ADJECTIVES = """
alt älter old older person animal readable clothing vehicle device thing furniture place
jung jünger young younger person animal
groß größer tall taller person
groß größer big bigger animal vehicle opening device load furniture place upright
klein kleiner small smaller person young animal fruit vehicle opening device thing furniture place
freundlich freundlicher friendly friendlier person
müd>müde müder tired more_tired person young animal
traurig trauriger sad sadder person readable
glücklich glücklicher happy happier person young
stark stärker strong stronger person animal
klug klüger clever cleverer person animal
reich reicher rich richer person
arm ärmer poor poorer person
krank kränker sick sicker person animal
hungrig hungriger hungry hungrier person young animal
nett netter nice nicer person
höflich höflicher polite more_polite person
faul fauler lazy lazier person animal
mutig mutiger brave braver person
ehrlich ehrlicher honest more_honest person
berühmt berühmter famous more_famous person
schön schöner beautiful more_beautiful animal clothing furniture place thing
neu neuer new newer readable clothing vehicle device thing furniture
teur>teuer teurer expensive more_expensive clothing vehicle device furniture thing drink
billig billiger cheap cheaper clothing vehicle device furniture thing
schwer schwerer heavy heavier load furniture device
schnell schneller fast faster vehicle animal
langsam langsamer slow slower vehicle animal
rot - red - clothing vehicle thing color
blau - blue - clothing vehicle thing opening color
grün - green - clothing vehicle thing furniture color
schwarz - black - clothing vehicle animal thing color
weiß - white - clothing vehicle animal opening furniture color
gelb - yellow - clothing vehicle thing color
braun - brown - animal clothing furniture color
kaputt - broken - vehicle device opening upright furniture
sauber sauberer clean cleaner clothing room dish vehicle
schmutzig schmutziger dirty dirtier clothing room dish vehicle
nützlich nützlicher useful more_useful device readable
seltsam seltsamer strange stranger person readable clothing thing animal
frisch frischer fresh fresher food drink
süß süßer sweet sweeter fruit drink
kalt kälter cold colder drink hot room
warm wärmer warm warmer drink hot room clothing
heiß heißer hot hotter drink hot
lang länger long longer readable
kurz kürzer short shorter readable
langweilig langweiliger boring more_boring readable person town
interessant interessanter interesting more_interesting readable town building
spannend spannender exciting more_exciting readable
lustig lustiger funny funnier readable person animal
modern moderner modern more_modern building device furniture room
dunkl>dunkel dunkler dark darker room building furniture
hell heller bright brighter room
ruhig ruhiger quiet quieter person place animal
laut lauter noisy noisier young town device
leer - empty - room building opening dish
"""

VERBS = """
lesen lies gelesen h / read read / acc / person / readable
schreiben - geschrieben h / write wrote / acc / person / readable
essen iss gegessen h / eat ate / acc / person / food
fressen friss gefressen h / eat ate / acc / animal / fruit bread meat cheese potato cake
trinken - getrunken h / drink drank / acc / person / drink
kaufen - gekauft h / buy bought / acc / person / food drink thing clothing vehicle furniture
verkaufen - verkauft h / sell sold / acc / person / thing clothing vehicle furniture
suchen - gesucht h / look_for looked_for / acc pronoun / person / thing person animal clothing
finden - gefunden h / find found / acc pronoun / person / thing animal
sehen sieh gesehen h / see saw / acc pronoun / person animal / person animal vehicle building
hören - gehört h / hear heard / acc pronoun / person animal / person animal vehicle
besuchen - besucht h / visit visited / acc pronoun / person / person museum castle city village
lieben - geliebt h / love loved / acc pronoun / person / person young animal
vergessen vergiss vergessen h / forget forgot / acc / person / small load gift
verlieren - verloren h / lose lost / acc / person / small ball gift clothing
tragen träg getragen h / carry carried / acc / person / load
waschen wäsch gewaschen h / wash washed / acc / person / clothing vehicle dish fruit
putzen - geputzt h / clean cleaned / acc / person / room window door bicycle mirror
reparieren - repariert h / repair repaired / acc / person / vehicle device clock chair door
bauen - gebaut h / build built / acc / person / building boat table bench shelf
malen - gemalt h / paint painted / acc / person / picture flower animal building
zeichnen - gezeichnet h / draw drew / acc / person / person animal flower
kochen - gekocht h / cook cooked / acc / person / potato egg soup meat rice
backen - gebacken h / bake baked / acc / person / cake cookie bread roll pizza
auf+machen - aufgemacht h / open opened / acc / person / opening
zu+machen - zugemacht h / close closed / acc / person / opening
an+machen - angemacht h / turn_on turned_on / acc / person / device
aus+machen - ausgemacht h / turn_off turned_off / acc / person / device
auf+räumen - aufgeräumt h / tidy_up tidied_up / acc / person / room
ab+holen - abgeholt h / pick_up picked_up / acc / person / person young package
ein+laden läd eingeladen h / invite invited / acc pronoun / person / person
an+rufen - angerufen h / call called / acc pronoun / person / person
weg+werfen wirf weggeworfen h / throw_away threw_away / acc / person / fruit small clothing dish
an+ziehen - angezogen h / put_on put_on / acc / person / clothing
aus+ziehen - ausgezogen h / take_off took_off / acc / person / clothing
mit+nehmen nimm mitgenommen h / take_along took_along / acc / person / small load guitar
fangen fäng gefangen h / catch caught / acc / person / animal ball
füttern - gefüttert h / feed fed / acc / person / animal baby
brauchen - gebraucht h / need needed / acc stative / person / thing vehicle device furniture
verstehen - verstanden h / understand understood / acc pronoun / person / person readable
fragen - gefragt h / ask asked / acc pronoun / person / person
treffen triff getroffen h / meet met / acc pronoun / person / person
küssen - geküsst h / kiss kissed / acc pronoun / person / person young
grüßen - gegrüßt h / greet greeted / acc pronoun / person / person
begleiten - begleitet h / accompany accompanied / acc pronoun / person / person
retten - gerettet h / rescue rescued / acc pronoun / person / person animal young
beobachten - beobachtet h / watch watched / acc pronoun / person animal / person animal young
verstecken - versteckt h / hide hid / acc / person / small load gift
benutzen - benutzt h / use used / acc / person / device vehicle dish small
mieten - gemietet h / rent rented / acc / person / apartment room office garage house vehicle
verlassen verläss verlassen h / leave left / acc / person / place
probieren - probiert h / taste tasted / acc / person / food drink
schneiden - geschnitten h / cut cut / acc / person / fruit bread meat cheese cake pizza
bestellen - bestellt h / order ordered / acc / person / food drink clothing readable
zerbrechen zerbrich zerbrochen h / break broke / acc / person / dish bottle mirror
stehlen stiehl gestohlen h / steal stole / acc / person / thing vehicle animal
helfen hilf geholfen h / help helped / dat pronoun / person / person young animal
danken - gedankt h / thank thanked / dat pronoun / person / person
folgen - gefolgt s / follow followed / dat pronoun / person animal / person animal
antworten - geantwortet h / answer answered / dat pronoun / person / person
gratulieren - gratuliert h / congratulate congratulated / dat pronoun / person / person
zu+hören - zugehört h / listen_to listened_to / dat pronoun / person / person
vertrauen - vertraut h / trust trusted / dat pronoun / person / person
gehören - gehört h / belong_to belonged_to / dat stative / thing vehicle building / person
warten - gewartet h / wait_for waited_for / prep auf acc pronoun / person / person public
auf+passen - aufgepasst h / look_after looked_after / prep auf acc pronoun / person / young animal
spielen - gespielt h / play_with played_with / prep mit dat pronoun / person / young animal ball
sprechen sprich gesprochen h / talk_to talked_to / prep mit dat pronoun / person / person
tanzen - getanzt h / dance_with danced_with / prep mit dat pronoun / person / person
denken - gedacht h / think_of thought_of / prep an acc pronoun / person / person town young
träumen - geträumt h / dream_of dreamed_of / prep von dat pronoun / person / person animal vehicle
lachen - gelacht h / laugh_about laughed_about / prep über acc / person / readable hat picture
wohnen - gewohnt h / live lived / location stative / person / house apartment castle hotel town
arbeiten - gearbeitet h / work worked / location / person / building room garden
warten - gewartet h / wait waited / location / person / building park yard
sitzen - gesessen h / sit sat / location / person animal / seat
stehen - gestanden h / stand stood / location / person animal / building yard
liegen - gelegen h / lie lay / location stative / small / furniture
schlafen schläf geschlafen h / sleep slept / intransitive / key / person young animal
lachen - gelacht h / laugh laughed / intransitive / key / person young
weinen - geweint h / cry cried / intransitive / key / person young
singen - gesungen h / sing sang / intransitive / key / person bird
tanzen - getanzt h / dance danced / intransitive / key / person bear monkey
arbeiten - gearbeitet h / work worked / intransitive / key / person horse donkey
schwimmen - geschwommen s / swim swam / intransitive / key / person dog duck bear
auf+stehen - aufgestanden s / get_up got_up / intransitive / key / person animal
ein+schlafen schläf eingeschlafen s / fall_asleep fell_asleep / intransitive / key / person animal
auf+wachen - aufgewacht s / wake_up woke_up / intransitive / key / person young animal
an+kommen - angekommen s / arrive arrived / intransitive / key / person public
zurück+kommen - zurückgekommen s / come_back came_back / intransitive / key / person animal public
ein+kaufen - eingekauft h / go_shopping went_shopping / intransitive / key / person
weg+laufen läuf weggelaufen s / run_away ran_away / intransitive / key / person animal
springen - gesprungen s / jump jumped / intransitive / key / person animal
warten - gewartet h / wait waited / intransitive / key / person
gehen - gegangen s / go went / motion / person / place
laufen läuf gelaufen s / run ran / motion / person animal / place
kommen - gekommen s / come came / motion / person animal / place
fahren fähr gefahren s / drive drove / motion / person / town factory hotel hospital garage museum
legen - gelegt h / put put / put / person / small
stellen - gestellt h / place placed / put / person / upright
geben gib gegeben h / give gave / give / person / thing fruit readable clothing
zeigen - gezeigt h / show showed / give / person / thing readable clothing vehicle
schicken - geschickt h / send sent / give / person / readable gift package flower
bringen - gebracht h / bring brought / give / person / thing food drink
leihen - geliehen h / lend lent / give / person / thing vehicle clothing
vor+lesen lies vorgelesen h / read read / give / person / readable
erzählen - erzählt h / tell told / give / person / story
sagen - gesagt h / say said / that / key / person
glauben - geglaubt h / think thought / that / key / person
hoffen - gehofft h / hope hoped / that / key / person
vergessen vergiss vergessen h / forget forgot / that / key / person
"""

TIMES = {
    "present": "today heute;every_day jeden_Tag;every_morning jeden_Morgen;on_Sundays sonntags;"
    "in_the_evening am_Abend;in_the_summer im_Sommer;every_week jede_Woche",
    "past": "yesterday gestern;last_week letzte_Woche;last_night letzte_Nacht;"
    "two_days_ago vor_zwei_Tagen;this_morning heute_Morgen;on_Monday am_Montag;"
    "on_Tuesday am_Dienstag;on_Friday am_Freitag;last_year letztes_Jahr;on_Saturday am_Samstag",
    "future": "tomorrow morgen;next_week nächste_Woche;tonight heute_Abend;on_Monday am_Montag;"
    "on_Wednesday am_Mittwoch;on_Thursday am_Donnerstag;on_Saturday am_Samstag;today heute",
}
FREQUENCIES = "always immer;often oft;sometimes manchmal;rarely selten"
NUMBERS = (
    "two zwei;three drei;four vier;five fünf;six sechs;seven sieben;eight acht;nine neun;"
    "ten zehn;eleven elf;twelve zwölf"
)
PRICES = (
    "three drei;five fünf;seven sieben;ten zehn;twelve zwölf;fifteen fünfzehn;twenty zwanzig;"
    "twenty-five fünfundzwanzig;thirty dreißig;forty vierzig;fifty fünfzig;"
    "sixty-two zweiundsechzig;eighty achtzig;one_hundred hundert;two_hundred zweihundert;"
    "nine_hundred neunhundert"
)
NAMES = "Anna Paul Clara Jonas Lena Felix Emma Lukas Marie Simon Laura David Julia Thomas"
